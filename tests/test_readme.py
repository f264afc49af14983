"""README and docs/commands.md show what the program prints: their console blocks are run, in order, and compared."""

import os
import pty
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import pytest
import typer

from llmbatch.cli.app import _fill_in, app
from llmbatch.simulator import Latency, Scenario
from tests.cli.conftest import serving
from tests.pages import BIN, PAGES, ROOT, Block, blocks, commands, environment, shell

README = ROOT / "README.md"
COMMANDS = ROOT / "docs/commands.md"

#: What differs from run to run.
_VARIES = [
    (r"\d{8}T\d{6}-[0-9a-f]{6}", "RUN"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
    (r", [\d.,]+ s, [\d.,]+ rows/s", ", SPAN"),
    (r"seconds=[\d.]+", "seconds=N"),
    (r"^Latency .*", "Latency"),
    (r"^Concurrency .*", "Concurrency"),
]


def stable(text: str) -> list[str]:
    """The lines without what differs from run to run."""
    lines = [line.rstrip() for line in text.strip("\n").splitlines()]
    for pattern, name in _VARIES:
        lines = [re.sub(pattern, name, line) for line in lines]
    return [line for line in lines if line]


def assert_shows(shown: str, printed: str, what: str) -> None:
    """What a page shows is what was printed; ``...`` stands for any lines."""
    got = stable(printed)
    pieces = [stable(piece) for piece in re.split(r"^\.\.\.$", shown, flags=re.MULTILINE)]
    if len(pieces) == 1:
        assert pieces[0] == got, what
        return
    assert got[: len(pieces[0])] == pieces[0], what
    at = len(pieces[0])
    for piece in pieces[1:]:
        found = next((i for i in range(at, len(got) + 1) if got[i : i + len(piece)] == piece), None)
        assert found is not None, f"{what}: not printed in this order:\n{chr(10).join(piece)}\n---\n{printed}"
        at = found + len(piece)
    assert not pieces[-1] or at == len(got), f"{what}: more was printed:\n{printed}"


def prompts(block: Block) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with what it shows for it."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown


def demo() -> list[str]:
    """The commands of ``make demo``, as make prints them."""
    recipe = re.search(r"^demo:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    return [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a clone is after ``make demo`` has set up what it needs."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "pipelines", folder / "pipelines", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "sample_data").symlink_to(ROOT / "sample_data")
    (folder / ".venv").symlink_to(BIN.parent)
    return folder


def test_readme_shows_what_its_commands_print(folder: Path) -> None:
    for block in blocks(README, "console"):
        for command, shown in prompts(block):
            if command == "make demo":
                printed = "".join(f"{line}\n{shell(line, folder)}" for line in demo())
            else:
                printed = shell(command, folder)
            assert_shows(shown, printed, f"{block}: $ {command}")


COMMAND_HELPS = [(command, shown) for block in blocks(COMMANDS, "console") for command, shown in prompts(block)]


@pytest.mark.parametrize(("command", "shown"), COMMAND_HELPS, ids=[command for command, _ in COMMAND_HELPS])
def test_every_commands_help_is_shown_and_ends_with_its_exit_statuses(command: str, shown: str, tmp_path: Path) -> None:
    printed = shell(command, tmp_path)
    assert_shows(shown, printed, command)
    ending = "\n".join(stable(printed)).rpartition(" EXIT STATUS\n")[2].splitlines()
    assert ending
    assert all(re.match(r" \d+(, \d+)* \w", line) for line in ending), ending


def test_every_command_has_its_help_shown() -> None:
    group = typer.main.get_command(app)
    assert {command for command, _ in COMMAND_HELPS} == {f"llmbatch {name} --help" for name in group.commands}  # type: ignore[attr-defined]


def test_quick_start_begins_with_make_demo_and_make_test() -> None:
    text = README.read_text()
    start = re.search(r"^## Quick start\n\n```sh\n(.*?)```", text, re.MULTILINE | re.DOTALL)
    assert start is not None
    assert start[1].split("\n") == ["make demo", "make test", ""]
    for target in re.findall(r"\bmake ([a-z-]+)`", text):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"no make target {target!r}"


def test_make_demo_needs_no_key_and_no_network() -> None:
    assert len(demo()) == 2
    assert all("--provider offline" in line for line in demo())


SHELL = [
    pytest.param(words, id=" ".join(words))
    for page in PAGES
    for block in blocks(page, "sh", "crontab", "console")
    for words in commands(block)
    if "--help" not in words
]


@pytest.mark.parametrize("words", SHELL)
def test_commands_have_the_flags_that_the_program_knows(words: list[str]) -> None:
    name, *args = _fill_in(words)
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    command.make_context(name, args)  # raises for an unknown flag, a wrong value, a missing argument


def test_the_live_display_is_what_readme_shows(folder: Path) -> None:
    (shown,) = (block.text for block in blocks(README, "text") if "in flight" in block.text)
    with serving(Scenario(latency=Latency(median_ms=150))) as server:
        args = ["run", "pipelines/summarise", "--input", "sample_data/articles.jsonl", "--limit", "30"]
        args += ["--base-url", server.base_url, "--concurrency", "6", "--ledger", "live.duckdb", "--output", "live"]
        prices = ["--set", "prices.gpt-5-mini.input=0.25", "--set", "prices.gpt-5-mini.output=2"]
        frames = on_a_terminal([str(BIN / "llmbatch"), *args, *prices], folder)
    facts = facts_of(shown)
    assert any(facts_of(frame) == facts for frame in frames), (facts, frames[-1:])


def on_a_terminal(command: list[str], folder: Path) -> list[str]:
    """What a command draws on a terminal of 96 columns: the text of each picture."""
    master, slave = pty.openpty()
    ioctl(slave, TIOCSWINSZ, struct.pack("HHHH", 24, 96, 0, 0))
    env = {name: value for name, value in environment(folder).items() if name != "COLUMNS"}
    process = subprocess.Popen(command, cwd=folder, env=env, stdin=slave, stdout=subprocess.DEVNULL, stderr=slave)
    os.close(slave)
    seen = b""
    while chunk := _read(master):
        seen += chunk
    os.close(master)
    assert process.wait(timeout=60) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", seen.decode())
    return re.split(r"(?=summarise [━─])", text)[1:]


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux's word for a terminal whose other side is closed
        return b""


def facts_of(frame: str) -> list[str]:
    """A picture's facts without their numbers, wherever its lines break."""
    frame = re.sub(r"[━─]+", "BAR", frame.strip())
    frame = re.sub(r"\d+ (?:h|min|s|days)\b|--", "N", re.sub(r"\$[\d.]+", "$N", frame))
    frame = re.sub(r"\d[\d.,]*[kMB]?", "N", frame)
    return [fact.strip() for fact in re.split(r" · |\n", frame) if fact.strip()]
