"""gc: what it keeps, what it drops, and that a kill leaves the old ledger or the new one."""

import asyncio
import errno
import os
import random
import subprocess
import sys
import textwrap
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from llmbatch.errors import StorageError
from llmbatch.ledger import Ledger, answers_between, begin, collect, connect, end, examine, known
from llmbatch.ledger.files import leftovers, wal_of
from llmbatch.ledger.runs import Run
from llmbatch.types import Outcome, Status
from tests.campaign.wal import killed_ledger
from tests.ledger.conftest import attempt, body, key, request, start

HEADER = 96  #: bytes of a log before its first entry


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "l.duckdb"


async def night(path: Path, rows: dict[int, int | None], *, finished: bool = True, size: int = 10) -> Run:
    """A run over keys ``rows``: each is served by the stored attempt named, or by a new one. One night, one input."""
    ledger = await Ledger.open(path)
    last = await ledger.ask(lambda con: con.execute("select count(*) from run_ends").fetchone())
    run = await ledger.ask(lambda con: begin(con, start(fingerprint=f"f{last}", total=len(rows))))
    raw = body("x" * size)

    async def answer(row_no: int, n: int, seq: int | None) -> None:
        status = Status.DONE if seq is None else Status.REUSED
        served = seq or await ledger.record(run.run_no, attempt(n, row_no=row_no, raw=raw), request(n), "v1")
        ledger.settle(run.run_no, Outcome(row_no, status, key=key(n), seq=served))

    await asyncio.gather(*(answer(row_no, n, seq) for row_no, (n, seq) in enumerate(rows.items())))
    if finished:
        await ledger.ask(
            lambda con: end(con, run, ended_at=run.started_at + 1, status="finished", exit_code=0, report="{}")
        )
    await ledger.close()
    return run


def keys(path: Path) -> set[int]:
    con = connect(path)
    try:
        return {int(k, 16) for (k,) in con.execute("select distinct lower(hex(key)) from attempts").fetchall()}
    finally:
        con.close()


async def test_what_no_kept_night_used_is_dropped(path: Path) -> None:
    await night(path, {1: None, 2: None, 3: None})
    await night(path, {1: 1, 2: 2, 4: None})
    third = await night(path, {1: 1, 4: 4})
    done = collect(path, 1)
    assert keys(path) == {1, 4}
    assert done.kept_from == third.run_id
    assert done.before == {"attempts": 4, "requests": 4, "outcomes": 8}
    assert done.after == {"attempts": 2, "requests": 2, "outcomes": 2}
    assert done.dropped_usd == 2 * Decimal("0.000012")
    found = examine(path)
    assert found.findings == []
    assert found.counts["runs"] == 3  # history stays
    con = connect(path)
    answers = answers_between(con, third, 0, 9)
    assert [answers[n].raw for n in (0, 1)] == [body("x" * 10)] * 2
    con.close()


async def test_every_attempt_of_a_kept_key_stays(path: Path) -> None:
    lost: dict[str, Any] = {"outcome": "timeout", "reply": None, "cost_usd": None, "failure": "timeout"}
    ledger = await Ledger.open(path)
    run = await ledger.ask(lambda con: begin(con, start()))
    await ledger.record(run.run_no, attempt(1, **lost), request(1), "v1")
    await ledger.record(run.run_no, attempt(1, number=2, raw=body("no JSON")), None, "v1")
    await ledger.close()
    await night(path, {9: None})
    ledger = await Ledger.open(path)
    run = await ledger.ask(lambda con: begin(con, start(fingerprint="other")))
    ledger.settle(run.run_no, Outcome(0, Status.FAILED, key=key(1), seq=2, failure="not_json", reason="no JSON"))
    await ledger.ask(
        lambda con: end(con, run, ended_at=run.started_at, status="too_many_failed", exit_code=3, report="{}")
    )
    await ledger.close()
    done = collect(path, 1)
    assert keys(path) == {1}
    assert done.after["attempts"] == 2


async def test_an_unfinished_night_costs_no_kept_one(path: Path) -> None:
    """The newest night was killed before it wrote its outcomes: what it will reuse is what the last whole one used."""
    await night(path, {1: None, 2: None})
    await night(path, {1: 1})
    await night(path, {3: None}, finished=False)
    collect(path, 1)
    assert keys(path) == {1, 3}


async def test_runs_that_a_kept_run_goes_on_with_are_of_its_night(path: Path) -> None:
    await night(path, {1: None})
    await night(path, {2: None}, finished=False)
    last = await night(path, {2: 2, 3: None})
    assert last.resumes == (2,)
    await night(path, {4: None}, finished=False)
    done = collect(path, 1)
    assert keys(path) == {2, 3, 4}
    assert done.after["outcomes"] == 4


@pytest.mark.parametrize("keep", [3, 30])
async def test_with_few_nights_nothing_is_dropped(path: Path, keep: int) -> None:
    for n in range(3):
        await night(path, {n: None})
    before = path.read_bytes()
    done = collect(path, keep)
    assert done.before == done.after
    assert path.read_bytes() == before


async def test_a_ledger_without_runs(path: Path) -> None:
    await (await Ledger.open(path)).close()
    done = collect(path, 1)
    assert done.kept_from is None
    assert done.before == done.after


async def test_a_prompt_stored_twice_is_kept_once(path: Path) -> None:
    ledger = await Ledger.open(path)
    run = await ledger.ask(lambda con: begin(con, start()))
    for _ in range(3):  # as when a first attempt is told to wait
        await ledger.record(run.run_no, attempt(1), request(1), "v1")
    await ledger.close()
    assert collect(path, 1).after == {"attempts": 3, "requests": 1, "outcomes": 0}


async def test_a_log_with_nothing_but_its_header_is_no_hindrance(path: Path) -> None:
    """As a power cut at the beginning of a run leaves it."""
    await night(path, {1: None})
    await night(path, {2: None})
    killed_ledger(path, 0)
    os.truncate(wal_of(path), HEADER)
    assert collect(path, 1).after["attempts"] == 1
    assert keys(path) == {2}


async def test_a_dry_run_changes_nothing(path: Path) -> None:
    await night(path, {1: None})
    await night(path, {2: None})
    before = path.read_bytes()
    done = collect(path, 1, dry_run=True)
    assert done.after["attempts"] == 1
    assert done.bytes_after is None
    assert path.read_bytes() == before


async def test_numbers_go_on_after_the_newest_attempt_was_dropped(path: Path) -> None:
    await night(path, {1: None})
    await night(path, {2: None})
    await night(path, {1: 1})
    collect(path, 1)
    assert keys(path) == {1}
    assert examine(path).healthy
    ledger = await Ledger.open(path)
    assert await ledger.record(4, attempt(5), request(5), "v1") == 3
    await ledger.close()
    assert collect(path, 1).before["attempts"] == 2  # and it can be collected again


async def test_the_file_shrinks(path: Path) -> None:
    await night(path, dict.fromkeys(range(300)), size=20_000)
    await night(path, {0: 1})
    done = collect(path, 1)
    assert done.bytes_after is not None
    assert done.bytes_before > 2_000_000
    assert done.bytes_after == path.stat().st_size
    assert done.bytes_after < done.bytes_before
    assert path.stat().st_mode & 0o777 == 0o600
    assert leftovers(path) == []


async def test_no_room_for_the_new_file_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await night(path, {1: None})
    await night(path, {2: None})
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(StorageError, match=r"is as it was.*No space left"):
        collect(path, 1)
    assert path.read_bytes() == before
    assert leftovers(path) == []


@pytest.mark.slow
async def test_killed_at_any_moment_it_leaves_the_old_ledger_or_the_new_one(path: Path) -> None:
    rng = random.Random(3)
    old = {n: n + 1 for n in range(2_000)}
    await night(path, dict.fromkeys(old), size=1_000)
    await night(path, {n: old[n] for n in range(1_000)})
    whole = path.read_bytes()
    script = textwrap.dedent(f"""
        from pathlib import Path
        from llmbatch.ledger import collect
        print("go", flush=True)
        collect(Path({str(path)!r}), 1)
    """)

    def start_gc() -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        return process

    began = time.monotonic()
    start_gc().communicate()
    took = time.monotonic() - began
    kept = {"attempts": 1_000, "outcomes": 1_000}
    ends = []
    for _ in range(12):
        path.write_bytes(whole)
        process = start_gc()
        time.sleep(rng.uniform(0, took))
        process.kill()
        process.communicate()
        found = examine(path)
        assert found.healthy
        counts = {name: found.counts[name] for name in kept}
        assert counts in (kept, {"attempts": 2_000, "outcomes": 3_000})
        ends.append(counts == kept)
        con = connect(path)
        assert len(known(con, [key(n) for n in range(1_000)])) == 1_000
        con.close()
        collect(path, 1)  # and the next one finishes the work
        assert examine(path).counts["attempts"] == 1_000
        assert leftovers(path) == []
    assert not all(ends)  # some kills came in the middle
