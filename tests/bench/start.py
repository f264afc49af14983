"""How long a person waits for `llmbatch --help` and `llmbatch check`: the median of eleven.

python -m tests.bench.start
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from statistics import median

from tests.bench.process import LLMBATCH, cost_of, write_pipeline

_TIMES = 11


def main() -> None:
    """Print both."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pipeline(folder)
        for words in (["--help"], ["check", "p"]):
            costs = [cost_of([*LLMBATCH, *words], folder) for _ in range(_TIMES)]
            wall, cpu = median(c.wall_s for c in costs), median(c.cpu_s for c in costs)
            print(f"{words[0]:8} {wall:.2f} s, {cpu:.2f} s CPU; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
