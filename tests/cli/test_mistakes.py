"""Every mistake of a user: one clear message, exit status 2, nothing sent, nothing written."""

from collections.abc import Callable

import pytest

from llmbatch.simulator import Scenario
from tests.cli.conftest import Serve, Shell, tickets


def toml(old: str, new: str) -> Callable[[Shell], object]:
    def spoil(shell: Shell) -> None:
        path = shell.pipeline / "pipeline.toml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return spoil


def write(name: str, data: bytes) -> Callable[[Shell], object]:
    return lambda shell: (shell.folder / name).write_bytes(data)


def nothing(shell: Shell) -> None: ...


GOOD = b'{"id": "a", "text": "x"}\n'

MISTAKES: list[tuple[str, Callable[[Shell], object], list[str], str]] = [
    ("unknown key", toml("concurrency", "concurency"), [], "did you mean 'limits.concurrency'"),
    ("unknown flag", nothing, ["--concurency", "4"], "--concurrency"),
    ("bad override", nothing, ["--set", "limits.concurency=4"], "did you mean"),
    ("broken line", write("in.jsonl", GOOD + b'{"id": "b", "text": }\n'), [], "in.jsonl:2:21"),
    ("broken line", write("in.jsonl", GOOD + b'{"id": "b", "text": }\n'), [], "--skip-bad-rows"),
    ("not an object", write("in.jsonl", GOOD + b"[1]\n"), [], "in.jsonl:2"),
    ("bad UTF-8", write("in.jsonl", GOOD + b'{"id": "b", "text": "caf\xe9"}\n'), [], "in.jsonl:2"),
    ("id twice", write("in.jsonl", GOOD + GOOD), [], "in.jsonl:2"),
    ("no id", write("in.jsonl", GOOD + b'{"text": "x"}\n'), [], "in.jsonl:2"),
    ("no text", write("in.jsonl", GOOD + b'{"id": "b"}\n'), [], "text"),
    ("clash", write("in.jsonl", b'{"id": "a", "text": "x", "summary": 1}\n'), [], "prefix"),
    ("no such input", nothing, ["-i", "absent.jsonl"], "absent.jsonl"),
    ("input is a folder", nothing, ["-i", "label"], "label"),
    ("bad deadline", nothing, ["--deadline", "soonish"], "--deadline"),
    ("bad budget", nothing, ["--budget", "lots"], "budget"),
    ("budget without a price", nothing, ["--budget", "5"], "[prices."),
    ("bad max-failed", nothing, ["--max-failed", "some"], "max_failed"),
    ("bad base_url", nothing, ["--base-url", "localhost:8000"], "base_url"),
    ("bad schema", lambda s: (s.pipeline / "schema.json").write_text('{"type": "objekt"}'), [], "schema.json"),
    ("bad template", lambda s: (s.pipeline / "prompt.j2").write_text("{% if %}"), [], "prompt.j2:1"),
    (
        "bad hooks",
        lambda s: (s.pipeline / "hooks.py").write_text("import nowhere"),
        [],
        "hooks.py:1",
    ),
    ("bad class", nothing, ["--retry-failed", "no_such_class"], "no_such_class"),
]


@pytest.mark.parametrize(("name", "spoil", "flags", "words"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_a_mistake_is_said_and_nothing_is_sent(
    shell: Shell, serve: Serve, name: str, spoil: Callable[[Shell], object], flags: list[str], words: str
) -> None:
    server = serve(Scenario())
    shell.write("in.jsonl", tickets(3))
    spoil(shell)
    inputs = [] if "-i" in flags else ["-i", "in.jsonl"]
    url = [] if "--base-url" in flags else ["--base-url", server.base_url]
    done = shell.call("run", "label", *inputs, *url, *flags, expect=2)
    assert words in done.stderr
    assert done.stderr.startswith("llmbatch: ")
    assert server.account.total.requests == 0
    assert not (shell.folder / "results").exists()


def test_no_key_is_said_before_anything_is_sent(shell: Shell) -> None:
    shell.write("in.jsonl", tickets(3))
    done = shell.call("run", "label", "-i", "in.jsonl", expect=2)
    assert "OPENAI_API_KEY is not set" in done.stderr
    assert "--provider offline" in done.stderr


def test_no_pipeline(shell: Shell) -> None:
    done = shell.call("run", "lable", "-i", "in.jsonl", expect=2)
    assert "no pipeline folder at lable" in done.stderr


def test_a_foreign_file_as_ledger_is_left_alone(shell: Shell) -> None:
    shell.write("in.jsonl", tickets(3))
    (shell.folder / "mine.db").write_text("precious " * 100)
    done = shell.call("run", "label", "-i", "in.jsonl", "--provider", "offline", "--ledger", "mine.db", expect=74)
    assert "mine.db" in done.stderr
    assert (shell.folder / "mine.db").read_text() == "precious " * 100
