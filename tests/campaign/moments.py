"""The moments at which a run is killed."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import orjson

from tests.campaign.nights import Clocked, Folder


@dataclass(frozen=True)
class Leg:
    """A run that is going to be killed."""

    folder: Folder
    account: Clocked
    process: subprocess.Popen[str]
    rng: random.Random
    answering_s: float  #: a fitting time between the first call and the kill

    def wait(self, happened: Callable[[], bool], period_s: float = 0.001) -> bool:
        """Wait for something; False when the run ends first."""
        while not happened():
            if self.process.poll() is not None:
                return False
            time.sleep(period_s)
        return True

    def pause(self, longest_s: float) -> bool:
        """Wait for a random time; False when the run ends first."""
        time.sleep(self.rng.uniform(0, longest_s))
        return self.process.poll() is None


class Moment(Protocol):
    """Waits for it; False when the run ends first."""

    __name__: str

    def __call__(self, leg: Leg) -> bool: ...


def starting(leg: Leg) -> bool:
    """Imports, flags, the pipeline's folder."""
    return leg.pause(0.7)


def checking(leg: Leg) -> bool:
    """The input is read and checked, the ledger is opened and mends what the last kill left, the run begins."""
    lock = leg.folder.ledger.with_name("label.duckdb.lock")
    return leg.wait(lambda: lock.exists() and str(leg.process.pid) in lock.read_text()) and leg.pause(0.4)


def answering(leg: Leg) -> bool:
    """Calls are in flight, replies are stored."""
    before = leg.account.total.requests
    return leg.wait(lambda: leg.account.total.requests > before) and leg.pause(leg.answering_s)


def committing(leg: Leg) -> bool:
    """In the middle of a commit: the log has bytes that no commit has acknowledged."""
    return answering(leg) and leg.wait(lambda: leg.folder.wal_bytes > leg.folder.last_note.wal_bytes, 0.0002)


def closing(leg: Leg) -> bool:
    """Every row has its outcome; the ledger is closed, which takes its log into the database."""
    status = leg.folder.ledger.with_name("label.status.json")

    def ending() -> bool:
        facts = orjson.loads(status.read_bytes()) if status.exists() else {}
        return facts.get("pid") == leg.process.pid and facts["state"] == "ending"

    return leg.wait(ending) and leg.pause(0.08)


def writing(leg: Leg) -> bool:
    """Results are written."""
    new = leg.folder.results_file.with_name(f".results.jsonl.{leg.process.pid}.tmp")
    return leg.wait(new.exists) and leg.pause(0.1)


def reporting(leg: Leg) -> bool:
    """Results are in place; reports are written, then the run's end."""
    results = leg.folder.results_file

    def number() -> int | None:
        return results.stat().st_ino if results.exists() else None

    before = number()
    return leg.wait(lambda: number() != before, 0.0003) and leg.pause(0.02)


#: while rows are left to ask for, and how often in a night
EARLY: dict[Moment, int] = {starting: 1, checking: 1, answering: 3, committing: 3}
#: when every row is answered: the repeated run comes here without asking
LATE: dict[Moment, int] = {closing: 1, writing: 2, reporting: 2}
