"""The fuzz targets under atheris, each for a time and in a process of its own.

    python -m tests.campaign.fuzz --seconds 60 [TARGET ...]

atheris is no dependency of the project: install it beside ``llmbatch[dev]`` in an environment for this. An input that
crashes a target is put into ``tests/fuzz/kept``, where the tests try it ever after. Exit status 1 if there was one.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

KEPT = Path(__file__).parent.parent / "fuzz" / "kept"
NAMES = ("source", "pipeline", "judge", "schema", "headers", "scenario", "report", "times", "state")


def child(name: str, folder: Path, seconds: int) -> None:
    """Fuzz one target in this process; atheris ends it."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["llmbatch"]):
        from tests.fuzz.targets import SEEDS, TARGETS
    target = TARGETS[name]
    corpus = folder / "corpus"
    corpus.mkdir()
    for n, seed in enumerate(SEEDS[target]):
        (corpus / str(n)).write_bytes(seed)
    limits = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=20", "-rss_limit_mb=4096"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={folder}/", "-print_final_stats=1", str(corpus)], target)
    atheris.Fuzz()


def campaign(names: list[str], seconds: int) -> int:
    """Fuzz the targets one after the other; returns how many crashed."""
    crashed = 0
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "tests.campaign.fuzz", "--child", folder, "--seconds", str(seconds), name]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            output = done.stdout.decode(errors="replace")
            found = [path for path in Path(folder).iterdir() if path.is_file()]
            for path in found:
                KEPT.mkdir(exist_ok=True)
                data = path.read_bytes()
                (KEPT / f"{name}.{hashlib.sha256(data).hexdigest()[:8]}").write_bytes(data)
        units = re.search(r"number_of_executed_units:\s*(\d+)", output)
        print(f"{name:10} {int(units[1]) if units else 0:>10,} inputs, {len(found)} crashes", flush=True)
        if found or done.returncode:
            print("\n".join(line for line in output.splitlines()[-60:] if "stat::" not in line))
        crashed += bool(found or done.returncode)
    return crashed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[*NAMES, []], metavar="TARGET", help=", ".join(NAMES))
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.targets[0], given.child, given.seconds)
        return 0
    return min(campaign(given.targets or list(NAMES), given.seconds), 1)


if __name__ == "__main__":
    sys.exit(main())
