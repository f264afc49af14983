"""The project's pages as tests read them: fenced blocks, tables, links, and commands to run.

    python -m tests.pages

writes the program's help into the pages anew.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SHELL = re.compile(r"\d?[<>]|[|&;]")  #: what no longer belongs to a command


@dataclass(frozen=True)
class Block:
    page: Path
    language: str
    text: str
    line: int  #: of its first line, 1-based

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path, *languages: str) -> list[Block]:
    """The fenced blocks of a page in these languages."""
    text = page.read_text(encoding="utf-8")
    found = (Block(page, m[1], m[2], text.count("\n", 0, m.start()) + 2) for m in _FENCE.finditer(text))
    return [block for block in found if block.language in languages]


def table(page: Path, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its head."""
    text = page.read_text(encoding="utf-8")
    section = re.split(rf"^#+ {re.escape(heading)}$", text, maxsplit=1, flags=re.MULTILINE)[1]
    lines = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert lines is not None, f"{page}: no table under {heading!r}"
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[0].splitlines()[2:]]


def links(page: Path) -> list[str]:
    """Where a page's relative links lead."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]


def anchors(page: Path) -> set[str]:
    """The fragments that lead to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(block: Block) -> Iterator[list[str]]:
    """The words of every llmbatch command in a block of shell, without the shell's own part."""
    for line in block.text.splitlines():
        if block.language == "console" and not line.startswith("$ "):
            continue
        words = shlex.split(line, comments=block.language == "sh")
        at = [i for i, word in enumerate(words) if word == "llmbatch" or word.endswith("/llmbatch")]
        for start in at:
            end = next((i for i, word in enumerate(words) if i > start and _SHELL.match(word)), len(words))
            yield words[start + 1 : end]


def environment(folder: Path) -> dict[str, str]:
    """What a new user's shell has: the program, no key, no proxy, a hundred columns."""
    return {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "COLUMNS": "100",
        "TERM": "xterm",
    }


def shell(command: str, folder: Path) -> str:
    """What a command prints off a terminal, both streams in order."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout


def refresh() -> None:
    """Write every command's help into the pages that show it."""
    for page in PAGES:
        for block in blocks(page, "console"):
            command = block.text.partition("\n")[0].removeprefix("$ ")
            if command.endswith(" --help"):
                lines = [line.rstrip() for line in shell(command, ROOT).strip("\n").splitlines()]
                shown = "\n".join([f"$ {command}", *lines]).rstrip("\n")
                page.write_text(page.read_text(encoding="utf-8").replace(block.text, f"{shown}\n"), encoding="utf-8")


if __name__ == "__main__":
    refresh()
