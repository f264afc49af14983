"""A key planted everywhere it can come from, looked for everywhere it could end."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.cli.conftest import Shell, tickets
from tests.security.parrot import Heard, Said, completion, parrot
from tests.security.search import called, places

KEY = "planted-4fQx7Kd0aB3cD5eF7gH9iJ"
OTHER = "another-9Zk2mNb4vCx6lAs8dFg0"
PLANTED = (KEY, OTHER)

#: what each row meets; a row is known by the number in its text
STATUSES = {0: 200, 1: 400, 2: 413, 3: 500, 4: 503, 5: 422, 6: 200, 7: 200}


def echo(status: int, heard: Heard) -> Said:
    key = heard.authorization
    what = "Incorrect API key provided" if status in (401, 403) else "cannot read"
    words = f"{what}: {key} ({key[-30:]}), also {OTHER}. Authorization: {key}"
    headers = {
        "x-ratelimit-limit-requests": key,
        "x-request-id": key,
        "www-authenticate": key,
        "location": f"https://elsewhere.test/{key.rpartition(' ')[2]}",
    }
    if status == 429:
        return Said(429, {"error": {"message": words, "code": "insufficient_quota", "type": key}}, headers)
    return Said(status, {"error": {"message": words, "code": key, "param": None}, "request": {"headers": key}}, headers)


def answer(heard: Heard) -> Said:
    row = next(n for n in STATUSES if f"number {n}:" in heard.user_message)
    status = STATUSES[row]
    if status != 200:
        return echo(status, heard)
    if row == 6:  # an answer that carries the request's headers along
        return Said(200, completion('{"summary": "fine"}', request={"headers": heard.authorization}), {"x-key": KEY})
    if row == 7:  # status 200, but an error
        return Said(200, {"error": {"message": heard.authorization, "type": "server_error", "code": KEY}})
    return Said(200, completion('{"summary": "fine"}'))


def everything_said(shell: Shell) -> str:
    """Both streams of every command that shows something, called in one process."""
    commands = [
        ["status", "label"],
        ["status", "label", "--json"],
        ["runs", "label"],
        ["runs", "label", "--json"],
        ["report", "label"],
        ["report", "label", "--json"],
        ["report", "label", "--html", "page.html"],
        *(["show", "label", f"r{n}", *more] for n in (1, 3, 6, 7) for more in ([], ["--json"])),
    ]
    return called(shell, commands)[1]


def loud(shell: Shell, *args: object) -> tuple[int, str]:
    """A run with everything that makes programs talk switched on."""
    shell.env |= {"LLMBATCH_DEBUG": "1", "OPENAI_LOG": "debug", "PYTHONASYNCIODEBUG": "1"}
    process = shell.start("run", "label", "-i", "in.jsonl", "-v", *args)
    out, err = process.communicate(timeout=120)
    return process.returncode, out + err


def by_variable(shell: Shell) -> list[str]:
    shell.env["OPENAI_API_KEY"] = KEY
    return []


def by_file(shell: Shell) -> list[str]:
    path = shell.folder / "key"
    path.touch(0o600)
    path.write_text(KEY + "\n")
    return ["--set", f"provider.api_key_file={path}"]


@pytest.mark.parametrize("given", [pytest.param(by_variable, marks=pytest.mark.short), by_file])
def test_the_key_is_sent_and_is_nowhere_else(shell: Shell, given: Callable[[Shell], list[str]]) -> None:
    shell.write("in.jsonl", tickets(len(STATUSES)))
    shell.env["SOME_OTHER_TOKEN"] = OTHER
    with parrot(answer) as server:
        url = ["--base-url", server.base_url]
        code, said = loud(
            shell, *url, *given(shell), "--set", "limits.max_attempts=1", "--max-failed", "100%", "--json"
        )
    assert code == 0
    assert {heard.authorization for heard in server.heard} == {f"Bearer {KEY}"}
    rows = orjson.loads((shell.folder / "results/label/report.json").read_bytes())["rows"]
    assert (rows["done"], rows["failed"]) == (2, 6)
    said += everything_said(shell)
    assert "[key]" in said
    for secret in PLANTED:
        assert secret not in said
    assert places(shell.folder, PLANTED, leave_out=["key"]) == []


@pytest.mark.parametrize("status", [401, 403, 429, 302])
def test_a_provider_that_refuses_and_repeats_the_key(shell: Shell, status: int) -> None:
    shell.write("in.jsonl", tickets(3))
    shell.env |= {"OPENAI_API_KEY": KEY, "SOME_OTHER_TOKEN": OTHER}
    with parrot(lambda heard: echo(status, heard)) as server:
        code, said = loud(shell, "--base-url", server.base_url)
    assert code == 6
    assert f"status {status}" in said
    said += everything_said(shell)
    for secret in PLANTED:
        assert secret not in said
    assert places(shell.folder, PLANTED) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1", "https://127.0.0.1:9/v1", "https://nowhere.invalid/v1"])
def test_a_provider_that_is_not_there(shell: Shell, url: str) -> None:
    shell.write("in.jsonl", tickets(2))
    shell.env |= {"OPENAI_API_KEY": KEY}
    flags = ["--set", "limits.max_attempts=1", "--set", "limits.outage_patience_s=1", "--deadline", "4s"]
    _, said = loud(shell, "--base-url", url, *flags)
    assert KEY not in said + everything_said(shell)
    assert places(shell.folder, PLANTED) == []


FAULT = """
import sys
from llmbatch.cli import main
from llmbatch.providers.wire import Direct
async def post(self, body):
    raise RuntimeError(f"cannot send {body} with {self._headers}")
Direct.post = post
raise SystemExit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("debug", ["", "1"])
def test_a_fault_of_the_program_whose_words_hold_the_key(shell: Shell, debug: str) -> None:
    shell.write("in.jsonl", tickets(2))
    shell.env |= {"OPENAI_API_KEY": KEY, "LLMBATCH_DEBUG": debug}
    args = ["run", "label", "-i", "in.jsonl", "--base-url", "http://127.0.0.1:9/v1"]
    command = [sys.executable, "-c", FAULT, *args]
    done = subprocess.run(command, cwd=shell.folder, env=shell.env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert ("Traceback" in done.stderr) is bool(debug)
    assert "RuntimeError" in done.stderr
    assert KEY not in done.stdout + done.stderr
    assert places(shell.folder, PLANTED) == []


MISTAKES: list[tuple[list[str], str]] = [
    (["--set", "provider.api_key=sk-4fQx7Kd0aB3cD5eF7gH9iJ"], "holds an API key"),
    (["--set", "sk-4fQx7Kd0aB3cD5eF7gH9iJ"], "[key]"),
    (["--set", "sk-4fQx7Kd0aB3cD5eF7gH9iJ=1"], "[key]"),
    (["--base-url", f"https://host/{KEY}/v1"], "holds an API key"),
    (["--base-url", "https://user:4fQx7Kd0@host/v1"], "a user, a password"),
    (["--model", "sk-4fQx7Kd0aB3cD5eF7gH9iJ"], "holds an API key"),
    (["--api-key", "sk-4fQx7Kd0aB3cD5eF7gH9iJ"], "No such option: --api-key"),
    (["--api-key=sk-4fQx7Kd0aB3cD5eF7gH9iJ"], "No such option"),
    (["sk-4fQx7Kd0aB3cD5eF7gH9iJ"], "unexpected extra argument"),
    (["--deadline", "sk-4fQx7Kd0aB3cD5eF7gH9iJ"], "no duration"),
]


@pytest.mark.parametrize(("flags", "words"), MISTAKES, ids=[" ".join(flags)[:30] for flags, _ in MISTAKES])
def test_a_key_on_the_command_line_is_refused_and_not_repeated(shell: Shell, flags: list[str], words: str) -> None:
    shell.write("in.jsonl", tickets(2))
    shell.env["OPENAI_API_KEY"] = KEY
    url = [] if "--base-url" in flags else ["--base-url", "http://127.0.0.1:9/v1"]
    done = shell.call("run", "label", "-i", "in.jsonl", *url, *flags, expect=2)
    assert words in done.stderr
    assert "4fQx" not in done.stderr + done.stdout
    assert places(shell.folder, ["4fQx"]) == []


def test_a_weak_secret_in_a_flag_is_not_in_the_report(shell: Shell) -> None:
    shell.write("hunter22.jsonl", tickets(2))
    shell.env["SOME_PASSWORD"] = "hunter22"
    shell.run("-i", "hunter22.jsonl", "--provider", "offline", expect=None)
    report: dict[str, Any] = orjson.loads((shell.folder / "results/label/report.json").read_bytes())
    assert "hunter22" not in " ".join(report["command"])


def test_other_credentials_of_the_environment_are_not_sent(shell: Shell) -> None:
    """Neither an admin key, nor what stands in .netrc, nor to a proxy what is meant for this machine."""
    shell.write("in.jsonl", tickets(2))
    (shell.folder / "netrc").write_text("default login someone password something\n")
    heard: list[Heard] = []

    def proxy(asked: Heard) -> Said:
        heard.append(asked)
        return Said(200, completion('{"summary": "proxied"}'))

    with parrot(lambda _: Said(200, completion('{"summary": "fine"}'))) as server, parrot(proxy) as elsewhere:
        address = elsewhere.base_url.removesuffix("/v1")
        shell.env |= dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"), address)
        shell.env |= {"NETRC": str(shell.folder / "netrc"), "OPENAI_ADMIN_KEY": OTHER, "OPENAI_API_KEY": KEY}
        shell.run("-i", "in.jsonl", url=server.base_url)
    assert {asked.authorization for asked in server.heard} == {f"Bearer {KEY}"}
    assert heard == []


def test_a_redirect_takes_neither_key_nor_row_elsewhere(shell: Shell) -> None:
    shell.write("in.jsonl", tickets(2))
    shell.env["OPENAI_API_KEY"] = KEY
    with parrot(lambda _: Said(200, completion('{"summary": "caught"}'))) as elsewhere:
        for status in (302, 307):
            there = {"location": f"{elsewhere.base_url}/chat/completions"}
            with parrot(lambda _, status=status, there=there: Said(status, {}, there)) as server:  # type: ignore[misc]
                done = shell.call("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, expect=6)
                assert "redirects to 127.0.0.1; it is not followed" in done.stderr
        assert elsewhere.heard == []


def test_a_local_server_needs_no_key(shell: Shell, tmp_path: Path) -> None:
    shell.write("in.jsonl", tickets(2))
    assert "OPENAI_API_KEY" not in {name for name in os.environ if name in shell.env}
    with parrot(lambda _: Said(200, completion('{"summary": "needs no-key at all"}'))) as server:
        shell.run("-i", "in.jsonl", url=server.base_url)
    assert {row["summary"] for row in shell.results()} == {"needs no-key at all"}
