"""Kill runs with ``kill -9`` at random moments, repeat the same command, compare with an unbroken night.

    python -m tests.campaign.kill [--kills 200] [--rows 3000] [--seed 1]

A third of the rows is known from the night before. Of the others one in seven is answered wrongly at first and one in
17 always, one in five meets a 5xx or a reset; every twentieth row is a twin of another. The moments are those of
moments.py, a dozen a night. A kill that leaves bytes in the ledger's log which no commit has acknowledged is a power
cut too (power.py). In every second night DuckDB takes its log into the database at every 512 KB instead of 4 MB, so
that kills meet that too; then nothing is torn.

It stops with an AssertionError when it finds anything wrong. After every kill: each attempt whose commit was
acknowledged is in the ledger, once; the results file is the older one or the new one; what was paid for and is not
stored was in flight (16 calls at most), or came since the last acknowledged commit began. After every night: results
equal the unbroken night's to the byte; every row has one outcome; the provider was paid for the unbroken night and for
what the kills took, nothing else; two further runs pay for nothing.

How long an answer waits to be durable is measured, not asserted: that is a question of how busy the machine is.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmbatch.simulator import Served, Simulator
from tests.campaign.moments import EARLY, LATE, Leg, Moment
from tests.campaign.nights import CONCURRENCY, INPUT, Clocked, Folder, provider, rows
from tests.campaign.power import Torn, cut_power
from tests.campaign.stored import Stored, read

DELIVERY_S = 1.0  #: an answer that is ready reaches the ledger within this, on a machine that is busy too
_NIGHTS_A_SEED = 5
#: paid and never answered whole, with or without a kill
_UNDELIVERED = {"reset_mid", "reset_after_execution"}


@dataclass(frozen=True)
class Kill:
    """One kill, and what it cost."""

    moment: Moment
    in_flight: int  #: calls under way: paid for, and lost with the process
    answered: int  #: answered before the kill, and lost
    oldest_ms: float  #: how long before the kill the oldest of those was answered
    torn: Torn | None  #: what a power cut did to the log; None when it had nothing that was not synced

    @property
    def paid_twice(self) -> int:
        """Replies that a later run pays for again."""
        return self.in_flight + self.answered


@dataclass(frozen=True)
class Unbroken:
    """A night that nobody disturbed."""

    before: Folder  #: as the night before left it
    results: tuple[bytes, bytes]  #: of the night, and of a run more
    failed: list[dict[str, Any]]
    paid: int
    total: int


@dataclass
class Broken:
    """A night that is killed again and again."""

    folder: Folder
    server: Simulator
    account: Clocked
    unbroken: Unbroken
    rng: random.Random
    kills: list[Kill] = field(default_factory=list)
    _runs: int = 0

    def __post_init__(self) -> None:
        self._older = self.folder.results_file.read_bytes()
        self._runs = read(self.folder.ledger).runs

    def kill(self, leg: Leg, moment: Moment) -> bool:
        """Kill a run at a moment and look at what is left; False when the run has come to its end."""
        first = len(self.account.requests)
        if not moment(leg):
            _, err = leg.process.communicate()
            assert leg.process.returncode == 0, err
            return False
        at = time.monotonic()
        leg.process.send_signal(signal.SIGKILL)
        leg.process.communicate()
        last = self.folder.last_note
        while self.account.in_flight:  # a provider answers, and bills, whoever listens
            time.sleep(0.005)
        served = self.account.since(first)
        torn = cut_power(self.folder, self.server, self.rng)
        left = self._left(last.seq)
        began, self._runs = left.runs > self._runs, left.runs
        lost = list(_lost(served, left if began else Stored()))
        ages = [at - ready_at for ready_at in lost if ready_at < at]
        assert len(lost) - len(ages) <= CONCURRENCY
        assert not ages or at - max(ages) > last.began_at - DELIVERY_S, "lost, and older than the last commit"
        self.kills.append(Kill(moment, len(lost) - len(ages), len(ages), 1e3 * max(ages, default=0), torn))
        return not (began and left.ended)

    def _left(self, durable_seq: int) -> Stored:
        left = read(self.folder.ledger)
        assert left.seqs == list(range(1, len(left.seqs) + 1))
        assert len(left.seqs) >= durable_seq, "a stored reply was lost"
        assert self.folder.results_file.read_bytes() in (self._older, self.unbroken.results[0])
        return left

    def check(self) -> None:
        """What must hold at the end."""
        left = read(self.folder.ledger)
        assert left.ended
        assert left.rows == list(range(self.unbroken.total))
        assert self.folder.results_file.read_bytes() == self.unbroken.results[0]
        assert self.folder.failed() == self.unbroken.failed
        assert not self.folder.leftovers()
        assert _paid(self.account.since(0)) == self.unbroken.paid + sum(kill.paid_twice for kill in self.kills)


def _paid(served: Sequence[tuple[Served, float]]) -> int:
    return sum(_billed(each) for each, _ in served)


def _billed(served: Served) -> bool:
    return served.usage is not None and served.fault not in _UNDELIVERED


def _lost(served: Sequence[tuple[Served, float]], left: Stored) -> Iterator[float]:
    """When the replies were ready that were paid for in a run and are not in its ledger.

    A row has one call at a time, so of its replies the last ones are lost.
    """
    ready: dict[str | None, list[float]] = defaultdict(list)
    for each, ready_at in served:
        if _billed(each):
            ready[each.user_hash].append(ready_at)
    for user_hash, times in ready.items():
        kept = left.replies.pop(user_hash, 0) if user_hash else 0
        assert kept <= len(times)
        yield from sorted(times)[kept:]
    assert not left.replies, "replies are stored that nobody sent"


def unbroken(folder: Path, seed: int, count: int) -> Unbroken:
    """The night before, the night, and a run more."""
    before, folder = Folder(folder / "before"), folder / "unbroken"
    known, tonight = rows(count, seed)
    before.write("known.jsonl", known)
    before.write(INPUT, tonight)
    with provider(seed) as (server, _):
        before.finish("known.jsonl", server)
    whole = before.copy(folder)
    with provider(seed) as (server, account):
        whole.finish(INPUT, server)
        results, failed, paid = whole.results_file.read_bytes(), whole.failed(), _paid(account.since(0))
        whole.finish(INPUT, server)
    return Unbroken(before, (results, whole.results_file.read_bytes()), failed, paid, len(tonight))


def broken(night: Unbroken, folder: Folder, moments: Sequence[Moment], *, seed: int, more_runs: int = 2) -> list[Kill]:
    """The same night, killed at these moments, brought to its end, and repeated for nothing."""
    rng = random.Random(f"{seed} {folder.folder.name}")
    with provider(seed) as (server, account):
        kept = Broken(folder, server, account, night, rng)
        for moment in moments:
            leg = Leg(kept.folder, account, kept.folder.begin(INPUT, server), rng, answering_s=night.total * 2e-4)
            if not kept.kill(leg, moment):
                break
        else:
            kept.folder.finish(INPUT, server)
        kept.check()
        asked = account.total.requests
        for _ in range(more_runs):
            kept.folder.finish(INPUT, server)
            assert kept.folder.results_file.read_bytes() == night.results[1]
        assert account.total.requests == asked, "a further run asked for what is stored"
    return kept.kills


def a_night(rng: random.Random) -> list[Moment]:
    """Moments in an order in which each can come: first those with rows left to ask for."""
    early, late = ([moment for moment, times in some.items() for _ in range(times)] for some in (EARLY, LATE))
    rng.shuffle(early)
    return early + late


@dataclass
class Campaign:
    """What many nights brought."""

    kills: list[Kill] = field(default_factory=list)
    nights: int = 0
    ages_ms: list[float] = field(default_factory=list)  #: of every commit: how long its oldest answer waited


def campaign(folder: Path, *, kills: int, count: int, seed: int) -> Campaign:
    """At least so many kills, over nights with several sets of rows."""
    done = Campaign()
    rng = random.Random(seed)
    while len(done.kills) < kills:
        if done.nights % _NIGHTS_A_SEED == 0:
            night_seed = seed + done.nights // _NIGHTS_A_SEED
            night = unbroken(folder / f"seed-{night_seed}", night_seed, count)
        done.nights += 1
        copy = night.before.copy(folder / f"night-{done.nights}")
        copy.checkpoints_often = done.nights % 2 == 0
        known = len(copy.notes)
        done.kills += broken(night, copy, a_night(rng), seed=night_seed)
        done.ages_ms += [note.age_ms for note in copy.notes[known:] if note.age_ms]
        shutil.rmtree(copy.folder)
        print(f"night {done.nights}: {len(done.kills)} kills", flush=True)
    return done


def main() -> int:
    """Run the campaign from the command line."""
    from tests.campaign.kill_figures import told

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--rows", type=int, default=3_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        done = campaign(Path(folder), kills=args.kills, count=args.rows, seed=args.seed)
    print(told(done, rows=args.rows, seconds=time.monotonic() - began))
    return 0


if __name__ == "__main__":
    sys.exit(main())
