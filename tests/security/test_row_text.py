"""Text of rows, planted in every kind of fault: it is in results, failed.jsonl and the ledger, and nowhere else."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from llmbatch.providers.echo import ROW_TEXT, without_echo
from llmbatch.types import Request
from tests.cli.conftest import Shell
from tests.security.parrot import Heard, Said, completion, parrot
from tests.security.search import called, places

TEXT = "Frau Ottilie Brandtner, IBAN DE44500105175407324931, moved to Quittengasse 7"
NEEDLES = ("Brandtner", "DE44500105175407324931", "Quittengasse")
MAY_HOLD = ("results.jsonl", "results.parquet", "failed.jsonl", "in.jsonl", "label.duckdb", "label.duckdb.wal")


def rows(count: int = 3) -> list[dict[str, Any]]:
    return [{"id": f"r{n}", "text": f"{n}: {TEXT}"} for n in range(count)]


def loud(shell: Shell, *args: object, code: str | None = None) -> tuple[int, str]:
    """A run that says all it can, as plain lines."""
    shell.env["OPENAI_LOG"] = "debug"
    start = ["-c", code] if code else ["-m", "llmbatch"]
    command = [sys.executable, *start, "run", "label", "-i", "in.jsonl", "-v", *map(str, args)]
    done = subprocess.run(command, cwd=shell.folder, env=shell.env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def clean(shell: Shell, said: str) -> None:
    for needle in NEEDLES:
        assert needle.casefold() not in said.casefold()
    assert places(shell.folder, NEEDLES, leave_out=MAY_HOLD) == []


def fault(status: int, message: str, **more: Any) -> Said:
    return Said(status, {"error": {"message": message, **more}})


OF_ROWS: dict[int, Callable[[Heard], Said]] = {
    0: lambda h: fault(400, f"cannot read this: {h.user_message}"),
    1: lambda h: fault(500, h.user_message),
    2: lambda h: fault(200, h.user_message),
    3: lambda h: Said(200, h.user_message.encode()),
    4: lambda h: Said(200, completion(orjson.dumps({"summary": [h.user_message]}).decode())),
    5: lambda h: Said(200, completion(orjson.dumps({h.user_message: h.user_message}).decode())),
    6: lambda h: Said(200, completion(f"I cannot help with {h.user_message}")),
}
OF_ALL: dict[str, Callable[[Heard], Said]] = {
    "whole": lambda h: fault(403, f"Your message '{h.user_message}' is against our policy"),
    "escaped": lambda h: fault(403, "".join(f"\\u{ord(c):04x}" for c in h.user_message)),
    "html": lambda h: Said(401, f"<html><p>{h.user_message.upper()}</p></html>".encode()),
    "parameter": lambda h: fault(400, h.user_message, param="temperature"),
}


@pytest.mark.parametrize(
    "flags",
    [
        (),
        pytest.param(
            ("--log-format", "json", "--metrics-file", "m.prom", "--on-finish", "env; cat"), marks=pytest.mark.short
        ),
    ],
)
def test_what_the_provider_repeats_of_a_row(shell: Shell, flags: tuple[str, ...]) -> None:
    shell.write("in.jsonl", rows(len(OF_ROWS)))
    with parrot(lambda h: OF_ROWS[int(h.user_message.split(": ")[1])](h)) as server:
        code, said = loud(shell, "--base-url", server.base_url, "--set", "limits.max_attempts=1", *flags)
    assert code == 3, said
    clean(shell, said)
    failures = {row["llmbatch_error"].split(":")[0] for row in shell.results()}
    assert failures == {"rejected", "transient", "broken_reply", "schema", "refusal"}


@pytest.mark.parametrize("name", OF_ALL)
def test_what_the_provider_repeats_when_it_refuses(shell: Shell, name: str) -> None:
    shell.write("in.jsonl", rows())
    with parrot(OF_ALL[name]) as server:
        code, said = loud(shell, "--base-url", server.base_url)
    assert code == 6, said
    assert "[row text]" in said
    clean(shell, said)


CHECK = """
def check(output, row):
    if row["id"] == "r0":
        raise ValueError("no good: " + row["text"])
    if row["id"] == "r1":
        return ["no good: " + row["text"]]
    raise KeyError(row["text"])
"""


def test_a_check_that_quotes_the_row(shell: Shell) -> None:
    shell.write("in.jsonl", rows())
    (shell.pipeline / "hooks.py").write_text(CHECK)
    code, said = loud(shell, "--provider", "offline")
    assert code == 3
    clean(shell, said)
    assert "Brandtner" in (shell.folder / "results/label/failed.jsonl").read_text()


def test_a_template_that_fails_on_the_row(shell: Shell) -> None:
    shell.write("in.jsonl", rows())
    prompts = ["{{ text|int }}", "{% include text %}", "{{ text }}{{ nothing }}", "{{ text.x.y }}"]
    commands = []
    for number, prompt in enumerate(prompts):
        shutil.copytree(shell.pipeline, shell.folder / f"p{number}")
        (shell.folder / f"p{number}" / "prompt.j2").write_text(prompt)
        ledger = ["--ledger", f"{number}/label.duckdb"]
        commands.append(["run", f"p{number}", "-i", "in.jsonl", "--provider", "offline", "-v", *ledger])
        commands.append(["check", f"p{number}", "-i", "in.jsonl"])
    codes, said = called(shell, commands)
    assert codes == [3, 2] * len(prompts), said
    assert said.count("prompt.j2:1, for in.jsonl:1: ") == len(prompts)
    clean(shell, said)


LINE = orjson.dumps(rows(1)[0]).decode()
SPOILT = [
    LINE.replace('"text":', '"text" '),
    LINE[:-1],
    f"[{LINE}]",
    f'"{TEXT}"',
    LINE.replace("r0", "").replace("Ottilie", "\x01"),
    LINE.replace('"r0"', f'["{TEXT}"]'),
    LINE.replace('"r0"', f'"{TEXT}"') + "\n" + LINE.replace('"r0"', f'"{TEXT}"'),
    LINE.replace('"text"', '"test"'),
    LINE.replace("Ottilie", "\\ud83d\\"),
    f"{TEXT}",
    f"<p>{TEXT}</p>",
    LINE.replace('"r0"', f"{10**30}"),
]


def test_an_input_that_is_broken(shell: Shell) -> None:
    commands = []
    for number, spoilt in enumerate(SPOILT):
        (shell.folder / f"in{number}.jsonl").write_text(f"{spoilt}\n")
        commands.append(["run", "label", "-i", f"in{number}.jsonl", "--provider", "offline", "-v"])
        commands.append([*commands[-1], "--skip-bad-rows"])
    codes, said = called(shell, commands)
    assert codes[::2] == [2] * len(SPOILT), said
    assert 1 not in codes
    for number in range(len(SPOILT)):
        assert f"in{number}.jsonl" in said
        (shell.folder / f"in{number}.jsonl").unlink()
    clean(shell, said)


def test_parquet_that_cannot_hold_the_answer(shell: Shell) -> None:
    shell.write("in.jsonl", rows())
    (shell.pipeline / "schema.json").write_text(
        '{"type": "object", "properties": {"summary": {"type": "integer"}}, "required": ["summary"]}'
    )
    with parrot(lambda _: Said(200, completion(f'{{"summary": {10**18}}}'))) as server:
        _, said = loud(shell, "--base-url", server.base_url, "--format", "parquet")
    clean(shell, said)


SDK = """
import asyncio, os, sys
from llmbatch.providers.openai import OpenAI
from llmbatch.settings import ProviderSettings
from llmbatch.types import Request
async def ask(text):
    openai = OpenAI(ProviderSettings(base_url=sys.argv[1]), timeout_s=5, note=print, through_sdk=True)
    await openai.call(Request("k", 0, "m", ({"role": "user", "content": text},), {}, {"type": "object"}))
    await openai.close()
asyncio.run(ask(sys.argv[2]))
"""


def test_the_libraries_log_nothing(shell: Shell) -> None:
    """Not even when asked to: OPENAI_LOG=debug alone would print the request's body."""
    shell.env["OPENAI_LOG"] = "debug"
    with parrot(lambda _: Said(200, completion("fine"))) as server:
        command = [sys.executable, "-X", "dev", "-c", SDK, server.base_url, TEXT]
        done = subprocess.run(command, cwd=shell.folder, env=shell.env, capture_output=True, text=True, check=True)
    assert [heard.user_message for heard in server.heard] == [TEXT]
    assert done.stdout + done.stderr == ""


PATCHES = {
    "render": "import llmbatch.render as m; m.Renderer.request = fail",
    "judge": "import llmbatch.validate.judge as m; m.Judge.judge = fail",
    "provider": "import llmbatch.providers.offline as m; m.Offline.call = fail",
    "source": "import llmbatch.cli.night as m; m.check_row = fail",
    "sink": "import llmbatch.sink.results as m; m.line_of = fail",
    "ledger": "import llmbatch.ledger.store as m; m.Ledger.settle = fail",
    "thread": "import threading; import llmbatch.cli.night as m; m.survey = lambda *_, **__: [t := "
    "threading.Thread(target=fail, args=('" + TEXT + "',)), t.start(), t.join(), fail()]",
}
FAIL = "def fail(*args, **kwargs): raise RuntimeError(f'{args} {kwargs} " + TEXT + "')\n"


@pytest.mark.parametrize("part", PATCHES)
def test_a_fault_of_the_program_whose_words_hold_the_row(shell: Shell, part: str) -> None:
    shell.write("in.jsonl", rows())
    code = f"{FAIL}{PATCHES[part]}\nimport sys\nfrom llmbatch.cli import main\nraise SystemExit(main(sys.argv[1:]))"
    status, said = loud(shell, "--provider", "offline", code=code)
    assert status == 1, said
    assert "this is a fault in llmbatch: RuntimeError at " in said
    assert "Traceback" not in said
    clean(shell, said)


def request(*texts: str) -> Request:
    return Request("k", 0, "m", tuple({"role": "user", "content": text} for text in texts), {}, {})


@pytest.mark.short
@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("The model `gpt-5-mni` does not exist or you do not have access to it.", None),
        ("You exceeded your current quota, please check your plan and billing details.", None),
        ("Unsupported value: 'temperature' does not support 0 with this model.", None),
        ("don't, can't, won't", None),
        (f"Bad text: {TEXT}!", f"Bad text: {ROW_TEXT}!"),
        (f"Bad text: {TEXT[:30]} and {TEXT[-30:]}.", f"Bad text: {ROW_TEXT} and {ROW_TEXT}."),
        ("no 'Ottilie' here, no “Brandtner” there", f"no '{ROW_TEXT}' here, no “{ROW_TEXT}” there"),
        ("value DE44500105175407324931", f"value {ROW_TEXT}"),
        (f"...{TEXT.upper()[20:50]}...", f"...{ROW_TEXT}..."),
        ("no deployment for `Brandtner`", f"no deployment for `{ROW_TEXT}`"),
        (TEXT, ROW_TEXT),
        ("", ""),
    ],
)
def test_words_of_a_provider_stay_but_for_what_they_quote(words: str, shown: str | None) -> None:
    assert without_echo(words, request("You label customers.", f"Label this: {TEXT}")) == (shown or words)


def test_letters_that_fold_to_two_and_a_very_long_row() -> None:
    assert "strasse" not in without_echo("STRASSENBAHN 12 FÄHRT: STRASSENBAHN", request("die Straßenbahn 12 fährt"))
    assert without_echo("x" * 300 + " is bad", request("x" * 2_000_000)) == f"{ROW_TEXT} is bad"
