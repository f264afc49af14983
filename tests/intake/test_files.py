"""Results files: rolled, torn, found again."""

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from llmbatch.intake import Fate, Files, Message, Settlement


def message(name: str, deliveries: int = 1, *, named: bool = True) -> Message:
    return Message(b"{}", name, named, deliveries, name)


def line(name: str, status: str = "done", error: str | None = None) -> bytes:
    facts = {"llmbatch_message_id": name, "llmbatch_status": status, "llmbatch_error": error}
    return orjson.dumps(facts, option=orjson.OPT_APPEND_NEWLINE)


def settled(name: str) -> Settlement:
    return Settlement(message(name), Fate.DONE)


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Files]:
    def files(*, roll_bytes: int = 10_000, roll_s: float = 60.0, now: float = 0.0) -> Files:
        found = Files(tmp_path / "out", roll_bytes=roll_bytes, roll_s=roll_s, clock=lambda: clock[0])
        found.open()
        return found

    clock = [0.0]
    files.clock = clock  # type: ignore[attr-defined]
    return files


def names(folder: Path) -> list[str]:
    return sorted(path.name[-12:] for path in (folder / "out").iterdir())


def test_a_file_has_its_name_when_it_is_complete(tmp_path: Path, opened: Callable[..., Files]) -> None:
    files = opened(roll_bytes=100)
    files.write([(settled("a"), line("a"))])
    files.roll()
    assert names(tmp_path) == ["1.jsonl.part"]
    files.write([(settled("b"), line("b"))])
    files.roll()
    assert names(tmp_path) == ["-00001.jsonl"]
    files.write([(settled("c"), line("c"))])
    opened.clock[0] = 61.0  # type: ignore[attr-defined]
    files.roll()
    assert names(tmp_path) == ["-00001.jsonl", "-00002.jsonl"]
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()} == {0o600}


def test_what_a_killed_worker_left_is_closed_without_its_torn_line(
    tmp_path: Path, opened: Callable[..., Files]
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "results-1-00001.jsonl.part").write_bytes(line("a") + line("b")[:-9])
    (folder / "results-2-00001.jsonl.part").write_bytes(b'{"torn')
    alive = opened()
    alive.write([(settled("c"), line("c"))])
    opened()
    assert (folder / "results-1-00001.jsonl").read_bytes() == line("a")
    assert not (folder / "results-2-00001.jsonl").exists()
    assert len(list(folder.glob("*.part"))) == 1, "the living worker's"


def test_a_message_that_comes_again_is_found(tmp_path: Path, opened: Callable[..., Files]) -> None:
    dead = opened()
    dead.write([(settled("a"), line("a")), (settled("b"), line("b", "failed", "schema: no tags"))])
    own = dead.has(message("a"))
    assert own is not None, "the connection was lost before the acknowledgement"
    dead.acknowledged([message("a")])
    assert dead.has(message("a")) is None
    next((tmp_path / "out").glob("*.part")).rename(tmp_path / "out/results-9-00001.jsonl")
    other = opened()
    assert other.has(message("a")) is None, "first delivery: nobody can have written it"
    found = other.has(message("a", 2))
    assert found is not None
    assert not found.dead
    letter = other.has(message("b", 2))
    assert letter is not None
    assert (letter.dead, letter.reason) == (True, "schema: no tags")
    assert other.has(message("c", 2)) is None
    assert other.has(message("a", 2, named=False)) is None, "an id made of the body says nothing"
