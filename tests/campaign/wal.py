"""Damage the write-ahead log at many places: nothing may be lost without a word, and a repair keeps all it can.

    python -m tests.campaign.wal --attempts 300 --cuts 500 --flips 1000 --seed 1

Each damaged copy is opened as a run opens it. It must hold every attempt, or be refused and left as it is; a repair of
what was refused must leave a ledger whose attempts are a clean beginning and say exactly how many are gone.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from llmbatch.errors import StorageError
from llmbatch.ledger import Ledger, begin, connect, examine, repair
from tests.ledger.conftest import attempt, body, request, start


@dataclass
class Sweep:
    """What became of the damaged logs."""

    every: int  #: how many are refused for one that is repaired
    ends: collections.Counter[str] = field(default_factory=collections.Counter)  #: how many, by damage and end
    silent: list[str] = field(default_factory=list)  #: opened with fewer rows: must stay empty
    changed: list[str] = field(default_factory=list)  #: refused, but the files are not as they were
    miscounted: list[str] = field(default_factory=list)  #: a repair that did not tell the truth
    dropped: collections.Counter[int] = field(default_factory=collections.Counter)  #: attempts a repair dropped

    @property
    def sound(self) -> bool:
        """Whether every promise held."""
        return not (self.silent or self.changed or self.miscounted)


def killed_ledger(path: Path, attempts: int) -> None:
    """A ledger whose owner was killed after ``attempts`` commits' worth of attempts: all of them are in the log."""
    process = multiprocessing.get_context("spawn").Process(target=_fill, args=(path, attempts))
    process.start()
    process.join()
    assert process.exitcode == -9


def _fill(path: Path, attempts: int) -> None:
    async def fill() -> None:
        rng = random.Random(1)
        ledger = await Ledger.open(path)
        run = await ledger.ask(lambda con: begin(con, start()))
        for first in range(0, attempts, 5):
            group = range(first, min(first + 5, attempts))
            raws = [body(rng.randbytes(rng.choice((40, 400))).hex()) for _ in group]
            await asyncio.gather(
                *(
                    ledger.record(run.run_no, attempt(n, raw=raw), request(n), "v1")
                    for n, raw in zip(group, raws, strict=True)
                )
            )
        os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(fill())


def sweep(folder: Path, *, attempts: int, cuts: int, flips: int, zeros: int, seed: int, every: int = 1) -> Sweep:
    """Damage copies of one log, each at another place; repair every so manieth of them."""
    rng = random.Random(seed)
    origin = folder / "origin" / "l.duckdb"
    killed_ledger(origin, attempts)
    log = Path(f"{origin}.wal").read_bytes()
    seen = Sweep(every)
    for at in _places(rng, len(log), cuts):
        _one(folder, origin, log[:at], attempts, f"cut at {at}", seen)
    for at in _places(rng, len(log), flips):
        bit = 1 << rng.randrange(8)
        flipped = log[:at] + bytes([log[at] ^ bit]) + log[at + 1 :]
        _one(folder, origin, flipped, attempts, f"flip of bit {bit} at {at}", seen)
    for at in _places(rng, len(log), zeros):
        _one(folder, origin, log[:at] + bytes(len(log) - at), attempts, f"zeros from {at}", seen)
    return seen


def _places(rng: random.Random, length: int, count: int) -> list[int]:
    """The header and the ends matter most; the rest is spread evenly."""
    edges = [0, 1, 8, 16, 40, length - 1][: count // 4]
    return edges + [rng.randrange(length) for _ in range(count - len(edges))]


def _one(folder: Path, origin: Path, log: bytes, attempts: int, damage: str, seen: Sweep) -> None:
    place = folder / "damaged"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    path = place / "l.duckdb"
    for suffix in ("", ".seq"):
        shutil.copy(f"{origin}{suffix}", f"{path}{suffix}")
    Path(f"{path}.wal").write_bytes(log)
    before = _bytes(place)
    diagnosis = examine(path)
    if _bytes(place) != before:
        seen.changed.append(f"{damage}: by doctor")
    try:
        connect(path).close()
    except StorageError as error:
        if _bytes(place) != before:
            seen.changed.append(damage)
        end = "DuckDB silent, told by the record" if "missing" in error.message else "refused by DuckDB"
        seen.ends[f"{damage.split(maxsplit=1)[0]}: {end}"] += 1
        if diagnosis.healthy:
            seen.silent.append(f"{damage}: doctor says healthy")
        if seen.ends.total() % seen.every == 0:
            _mend(path, attempts, damage, seen)
    else:
        if _numbers(path) == list(range(1, attempts + 1)):
            seen.ends[f"{damage.split(maxsplit=1)[0]}: opened whole"] += 1
        else:
            seen.silent.append(damage)


def _mend(path: Path, attempts: int, damage: str, seen: Sweep) -> None:
    done = repair(path)
    left = _numbers(path)
    kept_whole = all(Path(name).exists() for name in done.kept_as)
    dropped = done.attempts_dropped or 0
    if left != list(range(1, attempts - dropped + 1)) or not kept_whole or not examine(path).healthy:
        seen.miscounted.append(f"{damage}: {done}, {len(left)} left")
    seen.dropped[dropped] += 1


def _numbers(path: Path) -> list[int]:
    con = connect(path)
    try:
        return [seq for (seq,) in con.execute("select seq from attempts order by seq").fetchall()]
    finally:
        con.close()


def _bytes(folder: Path) -> dict[str, bytes]:
    """All that is stored; DuckDB removes a log without a byte in it."""
    return {path.name: data for path in folder.iterdir() if (data := path.read_bytes())}


def main() -> int:
    """Run a sweep from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    defaults = {"attempts": 300, "cuts": 500, "flips": 1_000, "zeros": 200, "seed": 1, "every": 1}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seen = sweep(Path(folder), **vars(args))
    by_ten = collections.Counter(f"{count * 10 // args.attempts * 10} %" for count in seen.dropped.elements())
    print(json.dumps({**seen.ends, "silent losses": len(seen.silent), "share dropped by repair": by_ten}, indent=2))
    for line in (*seen.silent, *seen.changed, *seen.miscounted):
        print(line)
    return 0 if seen.sound else 1


if __name__ == "__main__":
    sys.exit(main())
