"""Kill runs with ``kill -9`` at random moments, repeat the same command, compare with an unbroken night.

    python -m tests.campaign.kill [--kills 200] [--rows 3000] [--seed 1]

A third of the rows is known from the night before. Of the others one in seven is answered wrongly at first and one in
17 always, one in five meets a 5xx or a reset; every twentieth row is a twin of another. The moments are those of
moments.py. A kill in the middle of a commit is a power cut too: the part of the ledger's log that no commit has
acknowledged is cut off at a random byte. In every second night DuckDB takes its log into the database at every 512 KB
instead of 16 MB, so that kills meet that too; then nothing is cut.

It stops with an AssertionError when it finds anything wrong. After every kill: each attempt whose commit was
acknowledged is in the ledger, once; the results file is the older one or the new one. After every night: results equal
the unbroken night's to the byte; every row has one outcome; the provider was paid for the unbroken night and for what
the kills took, nothing else; two further runs pay for nothing. At the end: what was paid for and is not stored was in
flight, or was answered in the last 100 ms before its kill. That is a question of speed too, so nothing else should
keep the machine busy.
"""

from __future__ import annotations

import argparse
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmbatch.simulator import Served
from tests.campaign.moments import EARLY, LATE, Leg, Moment, committing
from tests.campaign.nights import CONCURRENCY, INPUT, Clocked, Folder, provider, rows
from tests.campaign.stored import Stored, read

WINDOW_S = 0.1  #: in which a reply must become durable
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
    cut: int | None  #: bytes cut off the log; None when nothing was to be cut

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
        cut = self._cut_power() if moment is committing else None
        while self.account.in_flight:  # a provider answers, and bills, whoever listens
            time.sleep(0.005)
        left = self._left()
        began, self._runs = left.runs > self._runs, left.runs
        lost = list(_lost(self.account.since(first), left if began else Stored()))
        ages = [at - ready_at for ready_at in lost if ready_at < at]
        self.kills.append(Kill(moment, len(lost) - len(ages), len(ages), 1e3 * max(ages, default=0), cut))
        return not (began and left.ended)

    def _cut_power(self) -> int | None:
        """Cut the log where the machine may have lost it: after the last commit that anybody was told of."""
        acknowledged, size = self.folder.durable_bytes, self.folder.wal_bytes
        if size <= acknowledged or self.folder.checkpoints_often:
            return None
        keep = self.rng.randrange(acknowledged, size)
        with self.folder.wal.open("r+b") as log:
            log.truncate(keep)
        return size - keep

    def _left(self) -> Stored:
        left = read(self.folder.ledger)
        assert left.seqs == list(range(1, len(left.seqs) + 1))
        assert len(left.seqs) >= self.folder.durable_seq, "a stored reply was lost"
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
        kept = Broken(folder, account, night, rng)
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


def campaign(folder: Path, *, kills: int, count: int, seed: int) -> tuple[list[Kill], int]:
    """At least so many kills, over nights with several sets of rows; also returns the number of nights."""
    done: list[Kill] = []
    rng = random.Random(seed)
    nights = 0
    while len(done) < kills:
        if nights % _NIGHTS_A_SEED == 0:
            night_seed = seed + nights // _NIGHTS_A_SEED
            night = unbroken(folder / f"seed-{night_seed}", night_seed, count)
        nights += 1
        copy = night.before.copy(folder / f"night-{nights}")
        copy.checkpoints_often = nights % 2 == 0
        done += broken(night, copy, a_night(rng), seed=night_seed)
        print(f"night {nights}: {len(done)} kills", flush=True)
    return done, nights


def table(kills: Sequence[Kill]) -> str:
    """Replies paid twice per kill, by the moment of the kill."""
    head = ("killed while", "kills", "median", "p95", "most", "of them answered", "oldest, ms")
    by_moment = {moment.__name__: [k for k in kills if k.moment is moment] for moment in (*EARLY, *LATE)}
    lines = [head] + [_line(name, some) for name, some in {**by_moment, "all": list(kills)}.items() if some]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)


def _line(name: str, kills: Sequence[Kill]) -> tuple[str, ...]:
    twice = sorted(kill.paid_twice for kill in kills)
    p95 = twice[min(len(twice) - 1, round(0.95 * len(twice)))]
    answered, oldest = max(kill.answered for kill in kills), max(kill.oldest_ms for kill in kills)
    return name, *map(str, (len(kills), statistics.median_low(twice), p95, twice[-1], answered, round(oldest)))


def main() -> int:
    """Run the campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--rows", type=int, default=3_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        kills, nights = campaign(Path(folder), kills=args.kills, count=args.rows, seed=args.seed)
    cuts = [kill.cut for kill in kills if kill.cut]
    late = [kill for kill in kills if kill.oldest_ms > 1e3 * WINDOW_S]
    print(table(kills))
    print(f"{len(kills)} kills in {nights} nights of {args.rows:,} rows in {time.monotonic() - began:.0f} s,")
    print(
        f"at most {CONCURRENCY} calls in flight; {len(cuts)} times up to {max(cuts, default=0):,} bytes of log cut off"
    )
    print("stored replies lost: 0; nights that ended otherwise than the unbroken one: 0; paid for by further runs: 0")
    print(f"replies answered more than {1e3 * WINDOW_S:.0f} ms before their kill and lost: in {len(late)} kills")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
