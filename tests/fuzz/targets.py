"""Every place where text from outside comes in, as a function of bytes.

A target raises for nothing but a fault: mistakes that the program names are what it must make of bad input. pytest
drives the targets with hypothesis, ``python -m tests.campaign.fuzz`` with atheris.
"""

import contextlib
import tempfile
import unicodedata
from collections.abc import Callable
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import orjson

from llmbatch.cli.order import seconds, until
from llmbatch.errors import PipelineError, StorageError, UsageError, UserError
from llmbatch.ledger.lock import Lock
from llmbatch.ledger.sequence import recorded
from llmbatch.limits.headers import LONGEST_WAIT_S, allowance, retry_after
from llmbatch.pipeline import load
from llmbatch.progress.status import read_status
from llmbatch.providers.openai import decide
from llmbatch.render import Renderer, RenderError
from llmbatch.reply import BrokenReply, parse_reply
from llmbatch.report import LimitChange, RunFacts, build, from_json, html, text, to_json
from llmbatch.settings import InputSettings
from llmbatch.simulator import load_scenario
from llmbatch.sink import added_columns
from llmbatch.source import Reading, open_source, survey
from llmbatch.tally import Tally
from llmbatch.types import Outcome, Row, Status
from llmbatch.validate import Judge, check_schema, output_of, reask_turns
from tests.cli.conftest import SCHEMA, TOML
from tests.report.runs import answered, facts, reply

ROW = Row(0, {"id": "a", "text": "x", "n": 1, "list": [1, None]}, "in.jsonl", 1)
FOLDER = Path(tempfile.mkdtemp(prefix="llmbatch-fuzz-"))  # files are written over and over; made once


def words(data: bytes) -> str:
    return data.decode(errors="replace")


def source(data: bytes) -> None:
    """JSON Lines (or gzip, zstd): every line is a row or blank, or the file is refused."""
    path = FOLDER / "in.jsonl"
    path.write_bytes(data)
    try:
        opened = open_source([str(path)], FOLDER)
        surveyed = survey(opened, InputSettings(id="id", require=("text",)), skip_bad=True)
    except UserError:
        return
    reading = Reading()
    rows = list(opened.rows(skip_bad=True, reading=reading))
    assert len(rows) == surveyed.total
    if opened.files[0].packing == "plain":
        assert len(rows) + reading.blank_lines == data.count(b"\n") + (bool(data) and not data.endswith(b"\n"))
    orjson.dumps([row.columns for row in rows])


def pipeline(data: bytes) -> None:
    """A folder: pipeline.toml, prompt and schema, apart by NUL."""
    toml, _, rest = data.partition(b"\0")
    prompt, _, schema = rest.partition(b"\0")
    (FOLDER / "pipeline.toml").write_bytes(toml)
    (FOLDER / "prompt.j2").write_bytes(prompt)
    (FOLDER / "schema.json").write_bytes(schema)
    try:
        loaded = load(FOLDER)
        if not _sound(loaded.schema):
            return
        added_columns(loaded.schema, loaded.settings.output.prefix)
        renderer = Renderer(loaded)
    except UserError:
        return
    try:
        request = renderer.request(renderer.fit(ROW))
    except RenderError:
        return
    assert len(request.key) == 64
    request.messages[-1]["content"].encode()


def _sound(schema: Any) -> bool:
    try:
        check_schema(schema)
    except ValueError:
        return False
    return True


def judge(data: bytes) -> None:
    """An answer's text, as it is and inside of a body that may be odd itself."""
    body = {"choices": [{"message": {"content": words(data)}, "finish_reason": "stop"}]}
    for raw in (orjson.dumps(body).decode(), words(data)):
        try:
            answer = parse_reply(raw)
        except BrokenReply:
            continue
        verdict = _JUDGE.judge(ROW, answer)
        assert verdict.valid == (verdict.output is not None) == (not verdict.problems)
        found = output_of(answer.text)
        if verdict.output is not None:
            assert found == verdict.output
            orjson.dumps(verdict.output)
        for turn in reask_turns(answer, verdict):
            assert len(turn["content"]) < 10_000


_JUDGE = Judge(orjson.loads(SCHEMA), None)


def schema(data: bytes) -> None:
    """A JSON Schema: refused with a reason, or fit to judge and to make columns."""
    try:
        found = orjson.loads(data)
        check_schema(found)
        added_columns(found, "p_")
    except (ValueError, PipelineError):
        return
    judge = Judge(found, None)
    for answer in ("{}", '{"a": [1, {"b": null}], "c": "x"}', "[]"):
        judge.judge(ROW, parse_reply(orjson.dumps({"choices": [{"message": {"content": answer}}]}).decode()))


def headers(data: bytes) -> None:
    """Headers of an answer, and the body of an error."""
    head, _, body = words(data).partition("\n\n")
    found = {name.strip().lower(): value for name, _, value in (line.partition(":") for line in head.split("\n"))}
    wait = retry_after(found, 1.8e9)
    assert wait is None or 0 < wait <= LONGEST_WAIT_S
    for kind in ("requests", "tokens"):
        if allowed := allowance(found, kind):
            assert all(part is None or part >= 0 for part in allowed)
    for status in (307, 400, 401, 408, 429, 500, 503):
        decide(status, found, body)
        try:
            decide(status, found, orjson.loads(body))
        except orjson.JSONDecodeError:
            continue


def scenario(data: bytes) -> None:
    """A scenario file of the simulator."""
    path = FOLDER / "scenario.toml"
    path.write_bytes(data)
    with contextlib.suppress(UsageError):
        load_scenario(path)


class _Page(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(f"{tag} {' '.join(sorted(name for name, _ in attrs))}")


def _tally(name: str) -> Tally:
    tally = Tally()
    tally.planned(2)
    answered(tally, reply(name, cost=None))
    tally.finished(Outcome(0, Status.FAILED, failure=name), None)
    tally.finished(Outcome(1, Status.SKIPPED, failure=name), None)
    tally.noted(name)
    return tally


def _facts(name: str) -> RunFacts:
    keys = ("run_id", "pipeline", "label", "model", "status", "price_source", "structured_output")
    more: dict[str, Any] = dict.fromkeys(keys, name)
    change = LimitChange(0.0, "concurrency", 1, name)
    return facts(**more, input=(name,), files={"results": name}, command=("llmbatch", name), limit_changes=(change,))


def report(data: bytes) -> None:
    """Foreign text in a report: shown in all three forms, and it does nothing in any."""
    name = words(data) or "x"
    built = build(_tally(name), _facts(name))
    assert to_json(from_json(orjson.loads(orjson.dumps(to_json(built))))) == to_json(built)
    for shown in (text(built, color=False), html(built)):
        assert not {char for char in shown if unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp"}} - {"\n"}
    assert _Page(html(built)).tags == _CLEAN.tags


_CLEAN = _Page(html(build(_tally("x"), _facts("x"))))


def times(data: bytes) -> None:
    """Durations and deadlines of the command line."""
    night = datetime(2026, 3, 29, 1, 30).astimezone()  # DST began in Europe half an hour later
    with contextlib.suppress(UsageError):
        assert seconds(words(data), "--wait") >= 0
    with contextlib.suppress(UsageError):
        assert until(words(data), night) >= 0


def state(data: bytes) -> None:
    """The small files beside a ledger, damaged: an error that names them, or they are written anew."""
    ledger = FOLDER / "l.duckdb"
    (FOLDER / "l.duckdb.seq").write_bytes(data)
    (FOLDER / "l.duckdb.lock").write_bytes(data)
    (FOLDER / "l.status.json").write_bytes(data)
    with contextlib.suppress(StorageError):
        recorded(ledger)
    with contextlib.suppress(StorageError):
        read_status(FOLDER / "l.status.json")
    with Lock(ledger):
        pass


#: what a target begins with, so that it gets past the first look
SEEDS: dict[Callable[[bytes], None], list[bytes]] = {
    source: [
        b'{"id": "a", "text": "x"}\n{"id": 2, "text": null, "n": [1.5, {"deep": [[]]}]}\n',
        b'\xef\xbb\xbf{"id": 1e30, "text": "\\u0000\\ud83d"}\r\n\n18446744073709551616',
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
        b"\x28\xb5\x2f\xfd",
        b"PAR1",
    ],
    pipeline: [
        TOML.encode() + b"\0Label {{ text }}: {% for x in list %}{{ x }}{% endfor %}\0" + SCHEMA.encode(),
        b'[request]\nmodel = "m"\nparams = { a = 1979-05-27, b = inf }\n[input]\nmax_chars = 1\n\0{{ text }}\0{}',
    ],
    judge: [
        b'```json\n{"summary": "x", \'a\': [1, 2,], "b": NaN // no\n}\n```',
        b'{"choices": [{"message": {"content": [{"type": "text", "text": "{}"}]}}], "usage": {"prompt_tokens": -1}}',
        b'{"summary": "\\ud83d", "summary": "twice"}',
    ],
    schema: [
        SCHEMA.encode(),
        b'{"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}}}}',
        b'{"type": ["object"], "properties": {"a": {"enum": [1, "x"]}, "b": {"type": "array", "items": [{}]}}}',
    ],
    headers: [
        b'retry-after: Wed, 21 Oct 2026 07:28:00 GMT\nx-ratelimit-limit-tokens: 1\n\n{"error": {"param": []}}',
        b"retry-after-ms: 1e9\nx-ratelimit-remaining-requests: 5\nx-ratelimit-reset-requests: 1h6m0.5s\n\n<html>",
    ],
    scenario: [b'seed = 1\n[[fault]]\nkind = "hang"\nshare = 0.5\nfrom_s = 1\n[latency]\nmedian_ms = 1\n'],
    report: [b"<script>alert(1)</script>\x1b[2J[bold]\xe2\x80\xae&lt;\"'{{ 7 }}", b"results/tag"],
    times: [b"06:00", b"2026-11-24 06:00", b"90s", b"in 1.5 h", b"9" * 400 + b"d"],
    state: [
        b'{"host": "h", "pid": 99999999999999999999, "started_at": "x"}',
        b"00000000000000000007\n",
        b"[" * 4096,
    ],
}  # fmt: skip
TARGETS = {target.__name__: target for target in SEEDS}
