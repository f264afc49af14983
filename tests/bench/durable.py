"""How long an answer waits until it is durable, from its arrival in the process on.

    python -m tests.bench.durable [--rows 2000]

One run against the simulator, 16 calls in flight, 20 ms an answer. Of every commit its oldest answer counts. That is a
question of how busy the machine is, so its load is printed too.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.campaign.nights import INPUT, Folder, provider, rows


def ages_ms(folder: Path, count: int) -> list[float]:
    """Of every commit of one run, ascending: how long its oldest answer waited."""
    night = Folder(folder)
    night.write(INPUT, rows(count, 1)[1])
    with provider(1) as (server, _):
        night.finish(INPUT, server)
    return sorted(note.age_ms for note in night.notes if note.age_ms)


def main() -> int:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ages = ages_ms(Path(folder) / "night", given.rows)
    median, p99 = ages[len(ages) // 2], ages[int(0.99 * len(ages))]
    print(
        f"{len(ages)} commits: durable after {median:.0f} ms (median), {p99:.0f} ms (p99), {ages[-1]:.0f} ms (most);"
        f" over 100 ms in {sum(age > 100 for age in ages)}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
