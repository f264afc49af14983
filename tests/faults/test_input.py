"""What is wrong with input files: a clear error before anything is sent, or an outcome on record."""

import gzip
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from llmbatch.simulator import Simulator
from tests.cli.conftest import tickets
from tests.faults.conftest import Desk, lines
from tests.source.test_jsonl import PACKERS

GOOD = {"id": "a", "text": "x"}
ROW = lines(GOOD)


def nested(levels: int) -> bytes:
    return b'{"id":"b","text":"x","deep":' + b"[" * levels + b"]" * levels + b"}\n"


def with_id(value: Any) -> bytes:
    return ROW + json.dumps({"id": value, "text": "x"}).encode() + b"\n"


def parquet(frame: pl.DataFrame, **options: Any) -> bytes:
    out = io.BytesIO()
    frame.write_parquet(out, **options)
    return out.getvalue()


TABLE = pl.DataFrame(tickets(200))
WHOLE = parquet(TABLE, row_group_size=50)

#: file name, its bytes, what the message says
UNUSABLE: dict[str, tuple[str, bytes, str]] = {
    "100,000 columns": ("in.jsonl", lines({f"c{n}": n for n in range(100_000)}), "in.jsonl:1: more than 10000"),
    "200 levels deep": ("in.jsonl", ROW + nested(200), "in.jsonl:2: values are nested deeper than 128"),
    "50,000 levels deep": ("in.jsonl", ROW + nested(50_000), "in.jsonl:2:"),
    "half a surrogate pair": ("in.jsonl", ROW + rb'{"id":"b","text":"\ud83d x"}' + b"\n", ":2:19: no low surrogate"),
    "NUL bytes": ("in.jsonl", ROW + b"\0" * 4096, "in.jsonl:2:1"),
    "torn last line": ("in.jsonl", ROW + b'{"id":"b","te', "in.jsonl:2:14: unexpected end of data"),
    "invalid UTF-8": ("in.jsonl", ROW + b'{"id":"b","text":"caf\xe9"}\n', "in.jsonl:2:22: invalid UTF-8"),
    "UTF-16": ("in.jsonl", ROW.decode().encode("utf-16"), "UTF-16"),
    "HTML": ("in.jsonl", b"<!doctype html><title>Sign in</title>", "HTML"),
    "JSON array": ("in.jsonl", b'[{"id":1}]', "JSON array"),
    "gzip cut short": ("in.jsonl.gz", gzip.compress(ROW * 9)[:-9], "gzip data is cut short"),
    "zstd cut short": ("in.jsonl.zst", PACKERS[".jsonl.zst"](ROW * 9)[:-3], "zstd data is cut short"),
    "id null": ("in.jsonl", with_id(None), 'id column "id" is missing, null or empty: in.jsonl:2'),
    "id empty": ("in.jsonl", with_id(""), "in.jsonl:2"),
    "id true": ("in.jsonl", with_id(True), "neither a string nor an integer: in.jsonl:2"),
    "id 1.0": ("in.jsonl", with_id(1.0), "neither a string nor an integer: in.jsonl:2"),
    "id of 30 digits": ("in.jsonl", with_id(10**29), 'an integer in "id" needs more than 64 bits'),
    "ids 1 and '1'": ("in.jsonl", with_id(1) + b'{"id":"1","text":"x"}\n', "in.jsonl:3"),
    "all-null required column": ("in.jsonl", lines({"id": 1, "text": None}, {"id": 2}), 'required column "text"'),
    "empty .parquet": ("in.parquet", b"", "holds no Parquet data"),
    "Parquet cut": ("in.parquet", WHOLE[: len(WHOLE) // 2], "in.parquet: cannot be read"),
    "Parquet of magic only": ("in.parquet", b"PAR1PAR1", "in.parquet: cannot be read"),
    "Parquet with a lying footer": ("in.parquet", WHOLE[:-8] + b"\xff\xff\xff\x7fPAR1", "in.parquet: cannot be read"),
    "Parquet id of floats": ("in.parquet", parquet(pl.DataFrame({"id": [1.5], "text": ["x"]})), "in.parquet:1"),
    "Parquet with an older result": (
        "in.parquet", parquet(pl.DataFrame({"id": [1], "text": ["x"], "llmbatch_status": ["done"]})), "llmbatch_status",
    ),
}  # fmt: skip


@pytest.mark.short
@pytest.mark.parametrize(("name", "data", "words"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_an_unusable_input_is_said_and_nothing_is_sent(
    desk: Desk, echo: Simulator, name: str, data: bytes, words: str
) -> None:
    refused(desk, echo, desk.put(data, name), words)


def refused(desk: Desk, echo: Simulator, name: object, words: str) -> None:
    before = echo.account.total.requests
    done = desk.call("run", "label", "-i", name, "--base-url", echo.base_url, expect=2)
    assert words in done.stderr
    assert done.stderr.startswith("llmbatch: ")
    assert done.stderr.count("\n") >= 2, "no hint"
    assert not (desk.folder / "results").exists()
    assert echo.account.total.requests == before


def make_fifo(desk: Desk) -> str:
    os.mkfifo(desk.folder / "pipe")
    return "pipe"


def link(desk: Desk, target: str) -> str:
    (desk.folder / "link").symlink_to(target)
    return "link"


PLACES: list[tuple[str, Callable[[Desk], str], str]] = [
    ("a folder", lambda desk: "label", "is a folder"),
    ("nothing", lambda desk: "absent.jsonl", "no such file"),
    ("a glob of nothing", lambda desk: "*.parquet", "no file matches"),
    ("a FIFO", make_fifo, "is not a regular file"),
    ("/dev/null", lambda desk: "/dev/null", "is not a regular file"),
    ("/dev/zero", lambda desk: "/dev/zero", "is not a regular file"),
    ("a link to nowhere", lambda desk: link(desk, "nowhere"), "No such file"),
    ("a link to itself", lambda desk: link(desk, "link"), "symbolic link"),
    ("too long a name", lambda desk: "x" * 5000, "too long"),
]


@pytest.mark.short
@pytest.mark.parametrize(("what", "make", "words"), PLACES, ids=[place[0] for place in PLACES])
def test_what_is_no_file_is_refused_at_once(
    desk: Desk, echo: Simulator, what: str, make: Callable[[Desk], str], words: str
) -> None:
    started = time.monotonic()
    refused(desk, echo, make(desk), words)
    assert time.monotonic() - started < 5


def test_a_file_name_that_is_not_utf8_is_refused(desk: Desk, echo: Simulator) -> None:
    name = os.fsdecode(b"caf\xe9.jsonl")
    refused(desk, echo, desk.put(ROW, name), r"caf\udce9.jsonl: the file's name is not UTF-8")
    refused(desk, echo, "caf*.jsonl", "is not UTF-8")


def test_a_file_without_permission_is_refused(desk: Desk) -> None:
    """Root may read everything, so as root the capability to do so is dropped first."""
    (desk.folder / desk.put(ROW)).chmod(0)
    under = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    if under and (not shutil.which("setpriv") or subprocess.run([*under, "true"], check=False).returncode):
        pytest.skip("capabilities cannot be dropped here")
    command = [*under, sys.executable, "-m", "llmbatch", "run", "label", "-i", "in.jsonl", "--provider", "offline"]
    done = subprocess.run(command, cwd=desk.folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("llmbatch: in.jsonl: cannot be read: Permission denied\n")


@pytest.mark.parametrize(
    "name", ["a b.jsonl", 'it\'s "it".jsonl', "two\nlines.jsonl", "[1]*?.jsonl", "-x.jsonl", "ü😀"]
)
def test_strange_file_names_are_names(desk: Desk, name: str) -> None:
    desk.put(ROW, name)
    assert [row["llmbatch_status"] for row in desk.night(f"./{name}")] == ["done"]
    assert desk.report()["rows"]["total"] == 1
    desk.put(lines({"id": "b", "text": "y"}), "other.jsonl")
    assert len(desk.night("*")) == 2, "a glob"


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp's advice, from 1 MiB on
@pytest.mark.parametrize("size", [1_000_000, 5_000_000])
def test_long_lines_are_answered(desk: Desk, echo: Simulator, size: int) -> None:
    long = ("word " * (size // 5))[:size]
    name = desk.put(lines(GOOD, {"id": "long", "text": long}, {"id": "c", "text": "y"}))
    desk.run("-i", name, url=echo.base_url)
    results = desk.results()
    assert [row["llmbatch_status"] for row in results] == ["done"] * 3
    assert results[1]["text"] == long
    before = echo.account.total.requests
    assert desk.run("-i", name, url=echo.base_url)["rows"]["reused"] == 3
    assert echo.account.total.requests == before


def test_five_thousand_columns_are_kept(desk: Desk) -> None:
    wide = {**GOOD, **{f"c{n}": n for n in range(5_000)}}
    (row,) = desk.night(desk.put(lines(wide)))
    assert {name: row[name] for name in wide} == wide


@pytest.mark.short
def test_bad_lines_can_be_left_out_and_are_on_record(desk: Desk) -> None:
    bad = [
        b'{"id":"b","te',
        rb'{"id":"b","text":"\ud83d"}',
        nested(200).strip(),
        b"\0\0",
        b"[1]",
        b'{"id":"b"}',
        b"\xff",
    ]
    name = desk.put(ROW + b"\n".join(bad) + b"\n" + lines({"id": "z", "text": "y"}))
    results = desk.night(name, "--skip-bad-rows")
    assert [row["llmbatch_status"] for row in results] == ["done", *["skipped"] * len(bad), "done"]
    assert all(row["llmbatch_error"].startswith("bad_row: ") for row in results[1:-1])
    assert desk.report()["skips"] == {"bad_row": len(bad)}


def test_of_a_key_given_twice_the_last_counts(desk: Desk) -> None:
    (row,) = desk.night(desk.put(b'{"id":"a","text":"first","text":"second"}\n'))
    assert row["text"] == "second"


def test_only_newlines_end_lines(desk: Desk) -> None:
    odd = "a\u2028b\u2029c\x85d\x0be\x1cf\x1dg\x0ch\ri"
    raw = json.dumps({"id": "raw", "text": odd}, ensure_ascii=False).encode()
    name = desk.put(b"\xef\xbb\xbf" + raw + b"\r\n\r\n" + lines({"id": "escaped", "text": odd}).rstrip())
    assert [row["text"] for row in desk.night(name)] == [odd, odd]
    assert desk.report()["notes"] == ["1 blank lines in the input are no rows"]


@pytest.mark.short
def test_ids_that_only_look_alike_stay_apart(desk: Desk) -> None:
    ids = [1, 2**53, 2**53 + 1, "1.0", "true", "null", "1" * 30, "é", unicodedata.normalize("NFD", "é"), "É", " 1"]
    results = desk.night(desk.put(lines(*({"id": value, "text": f"row {n}"} for n, value in enumerate(ids)))))
    assert [row["id"] for row in results] == ids
    assert len({row["llmbatch_key"] for row in results}) == len(ids)


@pytest.mark.parametrize("name", ["in.jsonl", "in.jsonl.gz", "in.jsonl.zst", "in.parquet"])
def test_no_rows_give_results_without_rows(desk: Desk, name: str) -> None:
    data = parquet(TABLE.clear()) if name == "in.parquet" else PACKERS[name[2:]](b"")
    desk.run("-i", desk.put(data, name), "--provider", "offline")
    assert desk.report()["rows"]["total"] == 0
    if name == "in.parquet":
        assert desk.frame().columns[:2] == ["id", "text"]
    else:
        assert desk.results() == []


NASTY: dict[str, Any] = {
    "id": "n\0\u2028", "text": "a\0b\u2028c\x0bd\x1ce😀\u202e\ufeff", "quote": '"\\\n\r\t</script>=cmd|A1', "empty": "",
    "int": 2**53 + 1, "huge": 2**64 - 1, "low": -(2**63), "float": 1e-320, "zero": -0.0, "bool": False, "null": None,
    "list": [[], [1, None]], "blank": {"": {" ": 1}}, "é": 1, "e\u0301": 2, "a.b": 3, "^x$": 4,
}  # fmt: skip


@pytest.mark.short
def test_nasty_values_survive_json_lines_to_parquet_and_back(desk: Desk) -> None:
    rows = [NASTY, {**NASTY, "id": "2", "text": "\0"}, {"id": "3", "text": "plain"}]
    desk.run("-i", desk.put(lines(*rows)), "--provider", "offline", "--format", "parquet")
    frame = desk.frame()
    assert frame["llmbatch_status"].to_list() == ["done"] * 3
    own = frame[list(NASTY)]
    desk.put(parquet(own), "back.parquet")
    again = desk.night("back.parquet", "--format", "jsonl")
    absent = dict.fromkeys(NASTY)
    wanted = [*rows[:2], {**absent, **rows[2]}]
    assert [{name: row[name] for name in NASTY} for row in again] == wanted
    assert repr(again[0]["zero"]) == "-0.0"
    assert {row["llmbatch_status"] for row in again} == {"reused"}, "the same texts are the same requests"


def test_nasty_values_survive_json_lines(desk: Desk) -> None:
    (row,) = desk.night(desk.put(lines(NASTY)))
    assert {name: row[name] for name in NASTY} == NASTY


@pytest.mark.short
def test_columns_of_mixed_types_late_ones_and_empty_ones_keep_every_value(desk: Desk) -> None:
    mixed: list[Any] = [1, "1", None, True, [1], {"a": 1}, 1.5]
    rows: list[dict[str, Any]] = [
        {"id": str(n), "text": "x", "mixed": value, "none": None} for n, value in enumerate(mixed)
    ]
    rows += [{"id": f"l{n}", "text": "x"} for n in range(200)]
    rows[-1]["late"] = 7
    name = desk.put(lines(*rows))
    assert [{key: row[key] for key in want} for row, want in zip(desk.night(name), rows, strict=True)] == rows
    desk.run("-i", name, "--provider", "offline", "--format", "parquet")
    frame = desk.frame()
    assert frame["mixed"].to_list()[:7] == ["1", '"1"', None, "true", "[1]", '{"a":1}', "1.5"]
    assert frame["late"].to_list() == [None] * 206 + [7]
    assert frame["none"].null_count() == 207


def test_parquet_of_odd_types_and_many_row_groups(desk: Desk) -> None:
    odd = TABLE.with_columns(
        pl.lit(b"\0\xff").alias("binary"),
        pl.lit(Decimal("1.20")).alias("decimal"),
        pl.lit(datetime(2026, 10, 25, 1, 30, tzinfo=UTC)).dt.convert_time_zone("Europe/Berlin").alias("twice"),
        pl.lit(timedelta(seconds=3)).alias("span"),
        pl.lit(float("nan")).alias("nan"),
        pl.lit(2**100).cast(pl.Int128).alias("wide"),
        pl.lit(None).alias("null"),
        pl.struct(a=pl.lit([1])).alias("nest"),
    )
    desk.put(parquet(odd, row_group_size=1), "in.parquet")
    desk.run("-i", "in.parquet", "--provider", "offline")
    frame = desk.frame()
    assert frame.select(odd.columns).equals(odd)
    row = desk.night("in.parquet", "--format", "jsonl")[199]
    assert {name: row[name] for name in odd.columns[2:]} == {
        "binary": "AP8=", "decimal": "1.20", "twice": "2026-10-25T02:30:00.000000+01:00", "span": "PT3S", "nan": None,
        "wide": str(2**100), "null": None, "nest": {"a": [1]},
    }  # fmt: skip


CHANGES: dict[str, tuple[str, str]] = {
    "grows": ("in.jsonl", 'path.write_bytes(path.read_bytes() + b\'{"id":"new","text":"t"}\')'),
    "is replaced": (
        "in.jsonl",
        "Path('n').write_bytes(path.read_bytes().replace(b'the', b'THE')); os.replace('n', path)",
    ),
    "is edited in place": ("in.jsonl", "path.write_bytes(path.read_bytes().replace(b'the', b'THE'))"),
    "is edited and its time put back": (
        "in.jsonl",
        "s = path.stat(); path.write_bytes(path.read_bytes().replace(b'the', b'THE')); "
        "os.utime(path, ns=(s.st_atime_ns, s.st_mtime_ns))",
    ),
    "is cut at a line": ("in.jsonl", "os.truncate(path, path.read_bytes().index(b'\\n') + 1)"),
    "is cut in a line": ("in.jsonl", "os.truncate(path, 70)"),
    "is gone": ("in.jsonl", "path.unlink()"),
    "becomes HTML": ("in.jsonl", "path.write_bytes(b'<html>' * 9)"),
    "Parquet grows": ("in.parquet", "path.write_bytes(path.read_bytes() + b'x')"),
    "Parquet is replaced": ("in.parquet", "os.replace('other.parquet', path)"),
    "Parquet is gone": ("in.parquet", "path.unlink()"),
}


@pytest.mark.short
@pytest.mark.parametrize(("name", "change"), CHANGES.values(), ids=CHANGES.keys())
def test_an_input_that_changes_during_a_run_never_mixes_into_results(desk: Desk, name: str, change: str) -> None:
    """The pipeline's check changes the file when the first answer is judged."""
    frame = pl.DataFrame(tickets(30))
    desk.put(lines(*tickets(30)))
    desk.put(parquet(frame), "in.parquet")
    desk.put(parquet(frame.with_columns(pl.col("text").str.to_uppercase())), "other.parquet")
    results = desk.folder / "results/label" / name.replace("in.", "results.")
    results.parent.mkdir(parents=True)
    results.write_bytes(b"of the night before")
    hooks = f"import os\nfrom pathlib import Path\npath, done = Path({name!r}), []\ndef check(output, row):\n"
    (desk.pipeline / "hooks.py").write_text(
        f"{hooks}    if not done:\n        done.append(1)\n        {change}\n    return []\n"
    )
    done = desk.call("run", "label", "-i", name, "--provider", "offline", expect=74)
    assert "llmbatch: the input changed during the run" in done.stderr
    assert "type the same command again" in done.stderr
    report = desk.report()
    assert (report["exit_code"], report["rows"]["done"]) == (74, 30)
    assert "results" not in report["files"]
    assert results.read_bytes() == b"of the night before"
    if name == "in.jsonl":
        desk.put(lines(*tickets(30)))
        (desk.pipeline / "hooks.py").unlink()
        again = desk.run("-i", name, "--provider", "offline")
        assert again["attempts"]["sent"] == 0, "nothing is paid for again"


def test_an_input_that_cannot_be_read_to_its_end_in_the_run_stops_it(desk: Desk) -> None:
    """Cut while later rows are still to be read; what was answered is stored."""
    desk.put(lines(*({**row, "pad": "x" * 200} for row in tickets(7_000))))
    (desk.pipeline / "hooks.py").write_text(
        "import os\ndone = []\ndef check(output, row):\n    if not done:\n        done.append(1)\n"
        "        os.truncate('in.jsonl', 9_999)\n    return []\n"
    )
    done = desk.call("run", "label", "-i", "in.jsonl", "--provider", "offline", "--quiet", expect=74)
    assert "in.jsonl:" in done.stderr
    rows = desk.report()["rows"]
    assert rows["done"] + rows["pending"] == rows["total"] == 7_000
    assert 0 < rows["done"] < 7_000
    assert not (desk.folder / "results/label/results.jsonl").exists()


@pytest.mark.short
def test_an_input_that_grows_under_the_survey_is_refused(desk: Desk, echo: Simulator) -> None:
    name = desk.put(lines(*tickets(10_000)))
    over = threading.Event()

    def grow() -> None:
        with (desk.folder / name).open("ab", buffering=0) as file:
            for n in range(10**6):
                file.write(lines({"id": f"new{n}", "text": "x"}))
                if over.wait(0.001):
                    return

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        refused(desk, echo, name, "the input changed while it was read")
    finally:
        over.set()
        writer.join()


def test_a_damaged_parquet_page_is_said(desk: Desk) -> None:
    """In a process of its own, because polars may abort it."""
    at = len(WHOLE) // 2
    name = desk.put(WHOLE[:at] + bytes(9) + WHOLE[at + 9 :], "damaged.parquet")
    process = desk.start("run", "label", "-i", name, "--provider", "offline", "--quiet")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f"llmbatch: {name}: cannot be read after row" in err
    assert not (desk.folder / "results").exists()


def test_results_are_for_their_owner_whatever_the_input_is(desk: Desk) -> None:
    path: Path = desk.folder / desk.put(ROW)
    path.chmod(0o666)
    desk.night("in.jsonl")
    assert stat.S_IMODE((desk.folder / "results/label/results.jsonl").stat().st_mode) == 0o600
