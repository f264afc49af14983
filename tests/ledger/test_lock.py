import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from llmbatch.errors import Exit, LedgerLocked
from llmbatch.ledger import Lock


def _hold(ledger: Path, told: Connection) -> None:
    with Lock(ledger):
        told.send("locked")
        time.sleep(60)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "l.duckdb"


@pytest.fixture
def holder(ledger: Path) -> Iterator[multiprocessing.process.BaseProcess]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_hold, args=(ledger, there))
    process.start()
    assert here.recv() == "locked"
    yield process
    process.kill()
    process.join()


def test_the_second_is_refused_and_told_who_holds_it(ledger: Path, holder: multiprocessing.process.BaseProcess) -> None:
    began = time.monotonic()
    with pytest.raises(LedgerLocked, match=f"pid {holder.pid} on ") as caught, Lock(ledger):
        pass
    assert caught.value.exit_code == Exit.LOCKED
    assert time.monotonic() - began < 0.5


def test_a_killed_owner_needs_no_hand(ledger: Path, holder: multiprocessing.process.BaseProcess) -> None:
    os.kill(holder.pid or 0, signal.SIGKILL)
    holder.join()
    with Lock(ledger):
        assert str(os.getpid()) in ledger.with_name("l.duckdb.lock").read_text()


def test_waiting_ends_when_the_owner_goes(ledger: Path, holder: multiprocessing.process.BaseProcess) -> None:
    with pytest.raises(LedgerLocked), Lock(ledger, wait_s=0.6):
        pass
    holder.kill()
    with Lock(ledger, wait_s=30):
        pass


def test_the_lock_file_is_for_its_owner_only(ledger: Path) -> None:
    with Lock(ledger):
        assert ledger.with_name("l.duckdb.lock").stat().st_mode & 0o077 == 0
