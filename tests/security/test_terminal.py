"""What rows, models and providers say cannot move the cursor, set a colour, retitle a window or reverse a line."""

import json
import os
import pty
import re
import subprocess
import sys
import unicodedata
from typing import Any

import orjson

from llmbatch.cli.gate import dumped, shown
from tests.cli.conftest import Shell
from tests.security.parrot import Heard, Said, completion, parrot
from tests.security.search import called

NASTY = (
    "\x1b[2J\x1b]0;pwned\x07\x1b]8;;http://evil\x1b\\link \x9b31m \x90q\x9c \u202egnp.exe\u202c \u2066x\u2069 \x7f\b\r"
    "[bold red]m[/] [/nope]"
)
OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def nasty_rows() -> list[dict[str, Any]]:
    return [{"id": f"{n}{NASTY}", "text": f"{n}: {NASTY}"} for n in range(4)]


def answer(heard: Heard) -> Said:
    row = heard.user_message.split(": ")[1]
    if row == "0":
        body = completion(orjson.dumps({"summary": NASTY}).decode(), system_fingerprint=NASTY, service_tier=NASTY)
        return Said(200, body | {"model": f"model {NASTY}"})
    if row == "1":
        return Said(422, {"error": {"message": f"words {NASTY}", "code": NASTY}})
    if row == "2":
        return Said(200, completion(f"prose {NASTY}"))
    return Said(200, {"error": {"message": NASTY, "type": NASTY}})


def commands(url: str) -> list[list[str]]:
    """Everything that shows anything."""
    run = ["run", "label", "-i", "in.jsonl", "--base-url", url, "-v", "--set", "limits.max_attempts=1"]
    return [
        run,
        [*run, "--json", "--ledger", "other.duckdb"],
        *(["show", "label", f"{n}{NASTY}", *more] for n in range(4) for more in ([], ["--json"])),
        *(["report", "label", *more] for more in ([], ["--json"])),
        *(["runs", "label", *more] for more in ([], ["--json"])),
        *(["status", "label", *more] for more in ([], ["--json"], ["--watch"], ["--watch", "--json"])),
        ["diff", "label", NASTY, NASTY],
        ["show", "label", "0", "--raw"],
        ["report", "label", "--with-text"],
        ["check", "label", "-i", "in.jsonl"],
        ["check", "label", "-i", "in.jsonl", "--json"],
        ["show", "label", NASTY],
        ["run", NASTY, "-i", NASTY],
        ["run", "label", "-i", "in.jsonl", "--set", f"label.{NASTY}=1"],
        ["run", "label", "-i", "in.jsonl", "--set", f"limits.concurrency={NASTY}"],
        ["check", "label", f"--{NASTY}"],
        [NASTY],
    ]


def test_nothing_shown_is_obeyed(shell: Shell) -> None:
    shell.write("in.jsonl", nasty_rows())
    with parrot(answer) as server:
        _, said = called(shell, commands(server.base_url))
    assert "gnp.exe" in said
    assert "\\x1b[2J" in said
    assert "\\u202e" in said
    assert not OBEYED.search(said), ascii(OBEYED.search(said))


def test_a_provider_that_refuses_in_colour(shell: Shell) -> None:
    shell.write("in.jsonl", [{"id": "a", "text": "plain"}])
    with parrot(lambda _: Said(403, {"error": {"message": f"refused {NASTY}"}})) as server:
        done = shell.call("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, expect=6)
    assert "gnp.exe" in done.stderr
    assert not OBEYED.search(done.stdout + done.stderr)


def test_nothing_shown_on_a_terminal_is_obeyed_but_our_own(shell: Shell) -> None:
    """A pseudo-terminal gets colours and the live display; of the escapes in rows and names, none."""
    shell.write("in.jsonl", nasty_rows())
    shell.env |= {"TERM": "xterm-256color", "COLUMNS": "100"}
    with parrot(answer) as server:
        said = _on_a_terminal(shell, commands(server.base_url)[0])
    assert "\x1b[" in said
    for part in ("\x1b[2J", "\x1b]", "\x07", "\x9b", "\x90", "\u202e", "\u2066", "\x7f", "\b"):
        assert part not in said, ascii(part)


def _on_a_terminal(shell: Shell, command: list[str]) -> str:
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "llmbatch", *command]
    run = subprocess.Popen(argv, cwd=shell.folder, env=shell.env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = bytearray()
    try:
        while data := os.read(ours, 65_536):
            said += data
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert run.wait(60) == 3
    return said.decode()


def test_json_and_text_hold_nothing_that_is_obeyed() -> None:
    every = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    assert json.loads(dumped({"x": every}))["x"] == every
    assert not OBEYED.search(dumped({"x": every}) + shown(every))
    assert not {unicodedata.category(char) for char in shown(every) if char != "\n"} & {"Cc", "Zl", "Zp"}
