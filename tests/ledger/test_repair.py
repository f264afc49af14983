"""doctor and repair at the ledger itself; `llmbatch doctor` is tested with the command line."""

import errno
import importlib
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from llmbatch.errors import LedgerLocked, StorageError
from llmbatch.ledger import Ledger, connect, examine, known, repair
from llmbatch.ledger.files import leftovers, wal_of
from llmbatch.ledger.sequence import beside, recorded
from tests.campaign.wal import killed_ledger
from tests.ledger.conftest import attempt, key, request
from tests.ledger.test_sequence import contents, store

ATTEMPTS = 60


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "l.duckdb"


@pytest.fixture
def broken(path: Path) -> Path:
    """A ledger with a byte flipped in the middle of its log."""
    killed_ledger(path, ATTEMPTS)
    log = bytearray(wal_of(path).read_bytes())
    log[len(log) * 2 // 3] ^= 1
    wal_of(path).write_bytes(log)
    return path


def seqs(path: Path) -> list[int]:
    con = connect(path)
    try:
        return [seq for (seq,) in con.execute("select seq from attempts order by seq").fetchall()]
    finally:
        con.close()


async def test_a_whole_ledger_is_healthy(path: Path) -> None:
    await store(path, 5)
    with duckdb.connect(str(path)) as con:
        con.execute(
            "insert into runs values (1, 'r1', 'tag', 'v1', 'i', 'f', 5, '{}', [], now()::timestamp);"
            "insert into prompt_versions values ('v1', null, 'm', null, '{}', '{}', 'p', null, now()::timestamp)"
        )
    found = examine(path)
    assert found.findings == []
    assert found.counts == {
        "attempts": 5, "keys": 5, "requests": 5, "outcomes": 0, "runs": 1, "unfinished_runs": 1,
    }  # fmt: skip
    assert (found.last_seq, found.recorded_seq, found.missing_attempts) == (5, 5, 0)


def test_a_log_that_is_refused_is_mended_on_a_copy(broken: Path) -> None:
    before = contents(broken)
    found = examine(broken)
    assert not found.healthy
    assert found.repairable
    assert found.wal_broken_at is not None
    assert str(found.wal_broken_at) in found.findings[0].what
    with pytest.raises(StorageError, match="cannot open the ledger"):
        connect(broken)
    assert contents(broken) == before

    done = repair(broken)
    assert done.attempts_dropped is not None
    assert 0 < done.attempts_dropped < ATTEMPTS
    assert done.wal_kept == found.wal_broken_at
    left = seqs(broken)
    assert left == list(range(1, ATTEMPTS - done.attempts_dropped + 1))
    database, log = map(Path, done.kept_as)
    assert database.read_bytes() == before["l.duckdb"]
    assert log.read_bytes() == before["l.duckdb.wal"]
    assert database.name.startswith("l.duckdb.damaged-")
    assert log == wal_of(database)  # so that DuckDB takes the two as one
    assert broken.stat().st_mode & 0o777 == 0o600
    assert examine(broken).healthy
    assert leftovers(broken) == []


async def test_a_log_of_which_only_the_header_can_be_kept(path: Path) -> None:
    """A run that is killed at its beginning: nothing was stored, and the header alone takes part in no checkpoint."""
    await store(path, 5)
    killed_ledger(path, 0)
    log = bytearray(wal_of(path).read_bytes())
    log[120] ^= 1
    wal_of(path).write_bytes(log)
    done = repair(path)
    assert 0 < done.wal_kept < 120
    assert done.attempts_dropped == 0
    assert seqs(path) == [1, 2, 3, 4, 5]
    assert examine(path).healthy


async def test_numbers_of_dropped_attempts_are_not_given_again(broken: Path) -> None:
    done = repair(broken)
    ledger = await Ledger.open(broken)
    assert await ledger.record(1, attempt(999), request(999), "v1") == ATTEMPTS + 1
    found = await ledger.ask(lambda con: known(con, [key(0)]))
    await ledger.close()
    assert len(found[key(0)].replies) == 1
    assert examine(broken).healthy
    assert len(seqs(broken)) == ATTEMPTS - (done.attempts_dropped or 0) + 1
    assert recorded(broken) == ATTEMPTS + 1


@pytest.mark.parametrize(
    "step",
    ["os.link", "pathlib.Path.replace", "pathlib.Path.unlink", "llmbatch.ledger.sequence.write_bytes"],
)
def test_a_repair_that_dies_at_any_step_is_repeated_without_further_loss(
    broken: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Death right before the step: what is on the disk then is what the next repair finds."""
    log = wal_of(broken).read_bytes()

    class Killed(BaseException): ...

    def die(*_: object, **__: object) -> None:
        raise Killed

    module = importlib.import_module("llmbatch.ledger.repair")
    with monkeypatch.context() as dying:
        dying.setattr(module, "remove_leftovers", lambda _: None)  # the dead tidy nothing up
        dying.setattr(step, die)
        with pytest.raises(Killed):
            repair(broken)
    found = examine(broken)
    if not found.healthy:
        again = repair(broken)
        assert again.attempts_dropped in (0, ATTEMPTS - len(seqs(broken)))
    left = seqs(broken)
    assert left == list(range(1, len(left) + 1))
    assert len(left) >= ATTEMPTS // 2
    assert examine(broken).healthy
    assert any(file.read_bytes() == log for file in broken.parent.glob("*.damaged-*.wal"))


async def test_without_a_record_what_is_lost_is_unknown(broken: Path) -> None:
    beside(broken).unlink()
    assert repair(broken).attempts_dropped is None
    assert recorded(broken) == len(seqs(broken))


async def test_loss_without_a_word_is_accepted_by_a_repair(path: Path) -> None:
    await store(path, 10)
    with duckdb.connect(str(path)) as con:
        con.execute("delete from attempts where seq > 7")
    found = examine(path)
    assert (found.missing_attempts, found.healthy, found.repairable) == (3, False, True)
    done = repair(path)
    assert (done.attempts_dropped, done.last_seq) == (3, 10)
    assert examine(path).healthy
    assert seqs(path) == [1, 2, 3, 4, 5, 6, 7]


async def test_a_record_that_says_nothing_is_written_anew(path: Path) -> None:
    await store(path, 3)
    beside(path).write_bytes(b"?")
    assert not examine(path).healthy
    repair(path)
    assert recorded(path) == 3
    assert examine(path).healthy


async def test_orphans_are_counted_and_removed(path: Path) -> None:
    await store(path, 2)
    with duckdb.connect(str(path)) as con:
        con.execute(
            "insert into outcomes values (1, 0, null, 'done', from_hex('00'), 99, null, null, false);"
            "insert into outcomes values (7, 0, null, 'done', from_hex('00'), 1, null, null, false);"
            "insert into climbs values (1, 0, 0, from_hex('00'), 99, 'schema', null);"
            "insert into run_ends values (8, now()::timestamp, 'finished', 0, '{}');"
            "insert into requests values (from_hex('00'), 'v1', 'text');"
            "insert into parts values (from_hex('00'), null, 0, 'text')"
        )
    found = examine(path)
    assert found.orphans == {
        "outcomes_without_attempt": 1,
        "outcomes_without_run": 2,
        "climbs_without_attempt": 1,
        "run_ends_without_run": 1,
        "requests_without_attempt": 1,
        "parts_without_attempt": 1,
        "attempts_without_request": 0,
        "attempts_without_run": 2,
        "runs_without_prompt_version": 0,
    }
    assert not found.healthy
    done = repair(path)
    assert done.attempts_dropped == 0
    after = examine(path)
    assert after.healthy
    assert after.counts["attempts"] == 2
    assert after.orphans["attempts_without_run"] == 2  # replies are never thrown away


async def test_damage_in_the_database_itself_is_found_and_not_made_worse(path: Path) -> None:
    await store(path, 200)
    data = bytearray(path.read_bytes())
    for at in range(40_000, len(data), 5_000):
        data[at] ^= 0xFF
    path.write_bytes(data)
    before = contents(path)
    found = examine(path)
    assert not found.healthy
    assert not found.repairable
    with pytest.raises(StorageError):
        repair(path)
    assert contents(path) == before


@pytest.mark.parametrize("content", [b"", b"a shopping list, and a rather long one at that\n" * 100])
def test_what_is_no_ledger_is_said_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    found = examine(path)
    assert not found.healthy
    assert not found.repairable
    assert path.read_bytes() == content


def test_a_foreign_database_is_said_and_left_alone(path: Path) -> None:
    with duckdb.connect(str(path)) as con:
        con.execute("create table customers (id integer)")
    before = contents(path)
    found = examine(path)
    assert "not an llmbatch ledger" in found.findings[0].what
    assert not found.repairable
    assert contents(path) == before


async def test_a_ledger_that_is_gone(path: Path) -> None:
    await store(path, 4)
    path.unlink()
    found = examine(path)
    assert "it held 4 attempts" in found.findings[0].what
    assert not found.repairable
    assert not path.exists()


async def test_leftovers_are_said(path: Path) -> None:
    await store(path, 1)
    path.with_name("l.duckdb.spill").mkdir()
    path.with_name("l.duckdb.new").write_bytes(b"half")
    found = examine(path)
    assert found.healthy
    assert [f.what.split(" ")[0].rpartition("/")[2] for f in found.findings if not f.damage][:2] == [
        "l.duckdb.spill",
        "l.duckdb.new",
    ]


async def test_a_database_that_is_open_elsewhere_is_locked_not_damaged(path: Path) -> None:
    await store(path, 1)
    script = f"import duckdb, time; con = duckdb.connect({str(path)!r}); print('open', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(LedgerLocked, match=f"PID {process.pid}"):
        examine(path)
    process.kill()
    process.communicate()


def test_no_room_for_a_copy_changes_nothing(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(broken)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(StorageError, match="No space left"):
        repair(broken)
    assert contents(broken) == before
