"""The number of the last stored attempt, kept beside the database: what damage it makes known."""

import asyncio
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import duckdb
import pytest

from llmbatch.errors import StorageError
from llmbatch.ledger import Ledger, connect
from llmbatch.ledger.sequence import SequenceRecord, beside, recorded, write_record
from tests.ledger.conftest import attempt, request


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "l.duckdb"


async def store(path: Path, count: int) -> None:
    ledger = await Ledger.open(path)
    await asyncio.gather(*(ledger.record(1, attempt(n), request(n), "v1") for n in range(count)))
    await ledger.close()


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


async def test_the_record_follows_every_commit(path: Path) -> None:
    ledger = await Ledger.open(path)
    assert recorded(path) == 0
    for n in range(1, 4):
        seq = await ledger.record(1, attempt(n), None, "v1")
        assert recorded(path) == seq == n
    await ledger.close()
    assert recorded(path) == 3
    assert beside(path).stat().st_mode & 0o777 == 0o600


async def test_attempts_that_are_gone_without_a_word_are_noticed(path: Path) -> None:
    await store(path, 10)
    with duckdb.connect(str(path)) as con:
        con.execute("delete from attempts where seq > 7")
    before = contents(path)
    with pytest.raises(StorageError, match="3 stored attempts are missing") as caught:
        await Ledger.open(path)
    assert "llmbatch doctor" in (caught.value.hint or "")
    assert contents(path) == before


async def test_a_gap_is_noticed_even_without_the_record(path: Path) -> None:
    await store(path, 10)
    with duckdb.connect(str(path)) as con:
        con.execute("delete from attempts where seq = 4")
    beside(path).unlink()
    with pytest.raises(StorageError, match="1 stored attempts are missing"):
        connect(path)


async def test_a_ledger_that_lost_its_log_is_noticed(path: Path) -> None:
    script = textwrap.dedent(f"""
        import asyncio, os
        from pathlib import Path
        from tests.ledger.test_sequence import Ledger, attempt
        async def main():
            ledger = await Ledger.open(Path({str(path)!r}))
            await ledger.record(1, attempt(1), None, "v1")
            os._exit(0)
        asyncio.run(main())
    """)
    subprocess.run([sys.executable, "-c", script], check=True)
    path.with_name("l.duckdb.wal").unlink()
    before = contents(path)
    with pytest.raises(StorageError, match="1 stored attempts are missing"):
        await Ledger.open(path)
    assert contents(path) == before


async def test_a_database_without_tables_is_not_taken_for_a_new_one(path: Path) -> None:
    duckdb.connect(str(path)).close()
    write_record(path, 5)
    before = contents(path)
    with pytest.raises(StorageError, match="5 stored attempts are missing"):
        await Ledger.open(path)
    assert contents(path) == before


async def test_a_ledger_that_is_gone_is_not_begun_anew_in_silence(path: Path) -> None:
    await store(path, 3)
    path.unlink()
    with pytest.raises(StorageError, match=r"3 stored attempts are missing .*, which is gone"):
        await Ledger.open(path)
    assert not path.exists()
    beside(path).unlink()  # as the message of doctor says
    await store(path, 1)


async def test_a_ledger_without_a_record_opens_and_gets_one(path: Path) -> None:
    await store(path, 3)
    beside(path).unlink()
    await store(path, 2)
    assert recorded(path) == 5


async def test_a_record_that_lags_behind_a_kill_is_brought_up(path: Path) -> None:
    await store(path, 3)
    write_record(path, 1)
    await store(path, 1)
    assert recorded(path) == 4


@pytest.mark.parametrize("text", [b"", b"12\n", b"x" * 21, b"0" * 22])
async def test_a_record_that_says_nothing_is_an_error(path: Path, text: bytes) -> None:
    await store(path, 1)
    beside(path).write_bytes(text)
    with pytest.raises(StorageError, match="does not hold the number") as caught:
        await Ledger.open(path)
    assert "--repair" in (caught.value.hint or "")


def test_recording_costs_next_to_nothing(path: Path) -> None:
    record = SequenceRecord(path, 0)
    began = time.process_time()
    for seq in range(2_000):
        record.advance(seq)
    cost = (time.process_time() - began) / 2_000
    record.close()
    assert recorded(path) == 1_999
    assert cost < 0.1e-3


async def test_the_record_never_leads(path: Path) -> None:
    """Killed between any two writes: what the record says is in the database."""
    script = textwrap.dedent(f"""
        import asyncio
        from pathlib import Path
        from tests.ledger.test_sequence import Ledger, attempt
        async def main():
            ledger = await Ledger.open(Path({str(path)!r}))
            print("open", flush=True)
            for n in range(100_000):
                await ledger.record(1, attempt(n), None, "v1")
        asyncio.run(main())
    """)
    last = 0
    for pause in (0.05, 0.11, 0.17, 0.23):
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        await asyncio.sleep(pause)
        process.kill()
        process.communicate()
        record = recorded(path)
        with duckdb.connect(str(path)) as con:
            row = con.execute("select max(seq), count(*) from attempts").fetchone()
        assert row is not None
        assert row[0] == row[1]
        assert record is not None
        assert last <= record <= row[0] <= record + 1  # on a busy machine a pause may see no commit
        last = record
    assert last > 0


def test_the_record_needs_no_sync_in_a_commit(path: Path) -> None:
    """The one fdatasync of a commit is DuckDB's own."""
    if os.system("strace -V > /dev/null 2>&1"):
        pytest.skip("strace is not there")
    script = textwrap.dedent(f"""
        import asyncio
        from pathlib import Path
        from tests.ledger.test_sequence import Ledger, attempt
        async def main():
            ledger = await Ledger.open(Path({str(path)!r}))
            for n in range(20):
                await ledger.record(1, attempt(n), None, "v1")
            await ledger.close()
        asyncio.run(main())
    """)
    trace = path.parent / "trace"
    strace = ["strace", "-f", "-qq", "-e", "trace=fdatasync,fsync", "-o", str(trace)]
    subprocess.run([*strace, sys.executable, "-c", script], check=True)
    assert 20 <= len(trace.read_text().splitlines()) <= 40
