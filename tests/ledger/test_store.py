import asyncio
import os
import signal
import stat
import subprocess
import sys
import textwrap
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from llmbatch.errors import StorageError, UsageError
from llmbatch.ledger import Ledger, answers_between, attempts_of, begin, connect, known, request_of
from llmbatch.types import Outcome, Status
from tests.ledger.conftest import attempt, body, key, request, start


async def test_a_recorded_attempt_is_on_disk_when_record_returns(tmp_path: Path, crowd: int) -> None:
    path = tmp_path / "l.duckdb"
    ledger = await Ledger.open(path)
    seqs = await asyncio.gather(*(ledger.record(1, attempt(n), request(n), "v1") for n in range(crowd)))
    # what another process would find after a kill at this very moment
    copy = tmp_path / "copy.duckdb"
    copy.write_bytes(path.read_bytes())
    wal = path.with_name("l.duckdb.wal")
    if wal.exists():
        copy.with_name("copy.duckdb.wal").write_bytes(wal.read_bytes())
    await ledger.close()
    with duckdb.connect(str(copy)) as con:
        assert con.execute("select seq from attempts order by seq").fetchall() == [(s,) for s in sorted(seqs)]
        assert con.execute("select count(distinct key) from requests").fetchone() == (crowd,)
    assert sorted(seqs) == list(range(1, crowd + 1))


async def test_numbers_go_on_after_reopening(tmp_path: Path) -> None:
    for expected in (1, 2):
        ledger = await Ledger.open(tmp_path / "l.duckdb")
        assert await ledger.record(1, attempt(expected), None, "v1") == expected
        await ledger.close()


async def test_known_gives_replies_oldest_first_and_rejections(tmp_path: Path) -> None:
    ledger = await Ledger.open(tmp_path / "l.duckdb")
    await ledger.record(1, attempt(1, number=1, raw=body("no")), request(1), "v1")
    await ledger.record(1, attempt(1, number=2, raw=body("yes")), None, "v1")
    rejected: dict[str, Any] = {
        "outcome": "rejected",
        "reply": None,
        "reason": "too long",
        "failure": "context_length",
        "cost_usd": None,
    }
    await ledger.record(1, attempt(2, **rejected), request(2), "v1")
    lost: dict[str, Any] = {
        "outcome": "timeout",
        "reply": None,
        "reason": "no answer",
        "failure": "timeout",
        "cost_usd": None,
    }
    await ledger.record(1, attempt(3, **lost), request(3), "v1")
    found = await ledger.ask(lambda con: known(con, [key(1), key(2), key(3), key(4)]))
    await ledger.close()
    assert set(found) == {key(1), key(2)}
    assert [(r.text, r.number, r.seq) for r in found[key(1)].replies] == [("no", 1, 1), ("yes", 2, 2)]
    assert found[key(1)].replies[0].cost_usd == Decimal("0.000012")
    rejection = found[key(2)].rejection
    assert rejection is not None
    assert (rejection.failure, rejection.reason) == ("context_length", "too long")


async def test_a_read_sees_what_was_queued_before_it(tmp_path: Path) -> None:
    ledger = await Ledger.open(tmp_path / "l.duckdb")
    for n in range(5_000):
        ledger.settle(1, Outcome(n, Status.DONE, key=key(n), seq=n))
    count = await ledger.ask(lambda con: con.execute("select count(*) from outcomes").fetchone())
    await ledger.close()
    assert count == (5_000,)


async def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        ledger = await Ledger.open(tmp_path / "new" / "l.duckdb")
        await ledger.close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "new" / "l.duckdb").stat().st_mode) == 0o600


async def test_a_foreign_database_is_refused_and_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "other.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute("create table customers (id integer)")
    before = path.read_bytes()
    with pytest.raises(StorageError, match="not an llmbatch ledger"):
        await Ledger.open(path)
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused_and_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "l.duckdb"
    path.write_text("hello, I am a shopping list, and a rather long one at that\n" * 100)
    before = path.read_bytes()
    with pytest.raises(StorageError, match="cannot open the ledger"):
        await Ledger.open(path)
    assert path.read_bytes() == before


async def test_a_newer_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "l.duckdb"
    await (await Ledger.open(path)).close()
    with duckdb.connect(str(path)) as con:
        con.execute("update meta set value = '99' where name = 'schema_version'")
    with pytest.raises(UsageError, match="schema version 99"):
        await Ledger.open(path)


async def test_sql_of_the_ledger_cannot_reach_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    ledger = await Ledger.open(tmp_path / "l.duckdb")
    with pytest.raises(StorageError):
        await ledger.ask(lambda con: con.execute(f"select * from read_csv('{secret}')").fetchall())
    with pytest.raises(StorageError):
        await ledger.ask(lambda con: con.execute("set enable_external_access = true"))
    await ledger.close()


async def test_a_fault_of_ours_is_not_called_a_fault_of_the_disk(tmp_path: Path) -> None:
    ledger = await Ledger.open(tmp_path / "l.duckdb")
    with pytest.raises(ZeroDivisionError):
        await ledger.ask(lambda con: 1 // 0)
    await ledger.close()


def test_a_full_disk_fails_every_later_write_and_loses_nothing(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands in for a full disk: writes beyond it fail with EFBIG."""
    script = textwrap.dedent(f"""
        import asyncio, resource, signal
        from pathlib import Path
        from llmbatch.errors import StorageError
        from llmbatch.ledger import Ledger
        from tests.ledger.conftest import attempt, body
        import random

        async def main():
            ledger = await Ledger.open(Path({str(tmp_path / "l.duckdb")!r}))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
            stored = 0
            try:
                for n in range(5_000):
                    await ledger.record(1, attempt(n, raw=body(random.randbytes(2000).hex())), None, "v1")
                    stored += 1
            except StorageError as error:
                print(stored, error.hint is not None)
            try:
                await ledger.record(1, attempt(0), None, "v1")
            except StorageError:
                print("still refused")
            try:
                await ledger.close()
            except StorageError:
                print("close says so")

        asyncio.run(main())
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert lines[1:] == ["still refused", "close says so"], done.stderr
    stored = int(lines[0].split()[0])
    assert stored > 50
    with duckdb.connect(str(tmp_path / "l.duckdb")) as con:
        assert con.execute("select count(*) from attempts").fetchone() == (stored,)


def test_kill_9_loses_no_acknowledged_attempt(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import asyncio
        from pathlib import Path
        from llmbatch.ledger import Ledger
        from tests.ledger.conftest import attempt

        async def main():
            ledger = await Ledger.open(Path({str(tmp_path / "l.duckdb")!r}))
            async def one(n):
                await ledger.record(1, attempt(n), None, "v1")
                print(n, flush=True)
            for start in range(0, 100_000, 20):
                await asyncio.gather(*(one(n) for n in range(start, start + 20)))

        asyncio.run(main())
    """)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    acknowledged = set()
    for line in process.stdout:
        acknowledged.add(int(line))
        if len(acknowledged) == 300:
            process.send_signal(signal.SIGKILL)
            break
    acknowledged |= {int(line) for line in process.stdout if line.endswith("\n")}
    process.wait()
    process.stdout.close()
    with duckdb.connect(str(tmp_path / "l.duckdb")) as con:
        stored = {n for (n,) in con.execute("select row_no from attempts").fetchall()}
    assert acknowledged <= stored


@pytest.mark.parametrize("limit", [0, 5_000, 200_000])
def test_no_room_for_a_new_ledger_leaves_none(tmp_path: Path, limit: int) -> None:
    script = textwrap.dedent(f"""
        import resource, signal
        from pathlib import Path
        from llmbatch.errors import StorageError
        from llmbatch.ledger import connect
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
        try:
            connect(Path({str(tmp_path / "l.duckdb")!r}))
        except StorageError as error:
            print(error, error.hint)
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "the ledger" in done.stdout, done.stderr
    assert "free some space" in done.stdout
    assert list(tmp_path.iterdir()) == []
    connect(tmp_path / "l.duckdb").close()


async def test_long_texts_come_back_whole(tmp_path: Path) -> None:
    text = "".join(f"{n} é\n" for n in range(3_000))
    long = replace(request(1), messages=({"role": "user", "content": text},))
    ledger = await Ledger.open(tmp_path / "l.duckdb")
    run = await ledger.ask(lambda con: begin(con, start()))
    await ledger.record(run.run_no, attempt(1, raw=body("short")), long, "v1")
    await ledger.record(run.run_no, attempt(1, number=2, raw=body(text.replace("\n", " "))), None, "v1")
    ledger.settle(run.run_no, Outcome(0, Status.DONE, None, key(1), 2))
    found = await ledger.ask(lambda con: known(con, [key(1)]))
    told = await ledger.ask(lambda con: request_of(con, key(1)))
    attempts = await ledger.ask(lambda con: attempts_of(con, key(1)))
    answers = await ledger.ask(lambda con: answers_between(con, run, 0, 1))
    await ledger.close()
    raws = [body("short"), body(text.replace("\n", " "))]
    assert [reply.raw for reply in found[key(1)].replies] == raws
    assert told is not None
    assert told["user_message"] == text
    assert [told["raw"] for told in attempts] == raws
    assert answers[0].raw == raws[1]


@pytest.mark.slow
async def test_rows_of_a_megabyte_need_no_more_memory_than_duckdb_may_have(tmp_path: Path) -> None:
    text = " ".join(f"word {n}" for n in range(90_000))
    big = [replace(request(n), messages=({"role": "user", "content": f"{n} {text}"},)) for n in range(150)]
    ledger = await Ledger.open(tmp_path / "l.duckdb")
    seqs = await asyncio.gather(
        *(ledger.record(1, attempt(n, raw=body(f"{n} {text}")), big[n], "v1") for n in range(150))
    )
    assert sorted(seqs) == list(range(1, 151))
    found = await ledger.ask(lambda con: known(con, [key(149)]))
    assert found[key(149)].replies[0].text == f"149 {text}"
    await ledger.close()
