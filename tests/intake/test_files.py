"""Results files: rolled, torn, found again."""

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from llmbatch.intake import Fate, Files, Message, Settlement, files


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
        found.close_left()
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
    assert dead.written([message("a")]).keys() == {"a"}, "the connection was lost before the acknowledgement"
    dead.acknowledged([message("a")])
    assert not dead.written([message("a")])
    next((tmp_path / "out").glob("*.part")).rename(tmp_path / "out/results-9-00001.jsonl")
    other = opened()
    assert not other.written([message("a")]), "first delivery: nobody can have written it"
    found = other.written([message("a", 2), message("b", 2), message("c", 2)])
    assert found == {"a": (False, None), "b": (True, "schema: no tags")}
    assert not other.written([message("a", 2, named=False)]), "an id made of the body says nothing"


def test_lines_that_came_since_the_last_look_are_found_and_those_before_not_read_again(
    tmp_path: Path, opened: Callable[..., Files], monkeypatch: pytest.MonkeyPatch
) -> None:
    other, mine = opened(), opened()
    other.write([(settled("a"), line("a"))])
    assert mine.written([message("a", 2)]).keys() == {"a"}
    (part,) = (tmp_path / "out").glob("*.part")
    with part.open("r+b") as file:  # what was read is not read again
        file.write(b"x" * (len(line("a")) - 1))
    other.write([(settled("b"), line("b"))])
    monkeypatch.setattr(files, "_TAIL", len(line("a")))
    assert mine.written([message("a", 2), message("b", 2)]).keys() == {"a", "b"}
    other.write([(settled("c"), line("c"))])
    assert mine.written([message("a", 2), message("c", 2)]).keys() == {"c"}, "no more than the end is kept"


def test_the_folder_is_looked_through_once_for_all_messages_that_come_again(
    tmp_path: Path, opened: Callable[..., Files], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    mine = opened()
    monkeypatch.setattr(Path, "glob", lambda path, pattern: looks.append(path) or [])  # type: ignore[func-returns-value]
    mine.written([message(f"m{n}", 2) for n in range(50)])
    mine.written([message(f"m{n}") for n in range(50)])
    assert looks == [tmp_path / "out"]
