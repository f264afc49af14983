"""Plans held against what came, for both shipped pipelines, a provider with known prices and real vocabularies::

    python -m tests.campaign.plan --seed 1

Three nights each: the first without history, the second with one earlier night (new rows, and most of the old ones),
the third after an edit of the prompt. The provider is the simulator with other ears than the plan's rule: it counts
tokens by the o200k vocabulary where the package rs_bpe is there (``pip install rs_bpe``), else by bytes; it bills the
schema, writes longer or shorter answers, and spoils some of them. Then the bill is held against its account.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson

from llmbatch.simulator import Account, Fault, Scenario, Server
from llmbatch.simulator.asked import Asked
from llmbatch.simulator.brain import BRAINS, Extract
from llmbatch.types import Json
from tests.cli.conftest import Shell, serving

ROOT = Path(__file__).parents[2]
SAMPLES = {"tag": "tickets.jsonl", "summarise": "articles.jsonl"}
INPUT, OUTPUT, CACHED = Decimal("0.25"), Decimal(2), Decimal("0.025")
FIRST, LATER = 0.35, 0.15  #: how far a plan may be off without an earlier night, and with one

Count = Callable[[str], int]


def counters() -> dict[str, Count]:
    """How a server may count tokens."""
    found: dict[str, Count] = {"bytes / 4": lambda text: len(text.encode()) // 4 + 1}
    try:
        from rs_bpe.bpe import openai  # type: ignore[import-not-found]
    except ImportError:
        return found
    vocabularies = {"o200k": openai.o200k_base(), "cl100k": openai.cl100k_base()}
    return {**found, **{name: vocabulary.count for name, vocabulary in vocabularies.items()}}


@dataclass(frozen=True, slots=True)
class Night:
    """A plan, and what came."""

    pipeline: str
    counted_by: str
    history: str
    basis: str
    planned: float
    low: float
    high: float
    actual: float
    account: Decimal  #: dollars that the provider bills, delivered or not
    delivered: Decimal  #: of answers that came
    perhaps: float  #: what attempts without an answer can cost at most, by the report

    @property
    def off(self) -> float:
        """The bill over the plan, minus 1."""
        return self.actual / self.planned - 1


def brain(count: Count) -> type[Extract]:
    """A model that counts so."""

    class Other(Extract):
        def tokens(self, text: str) -> int:
            return count(text)

        def answer(self, asked: Asked) -> dict[str, Json]:
            return super().answer(asked)

    return Other


def nights(folder: Path, pipeline: str, counted_by: str, count: Count, rng: random.Random) -> list[Night]:
    """Three nights of a pipeline at such a provider."""
    shell = Shell(folder)
    shutil.copytree(ROOT / "pipelines" / pipeline, folder / pipeline, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "prices.toml").write_text(f"[prices.gpt-5-mini]\ninput = {INPUT}\noutput = {OUTPUT}\ncached = {CACHED}\n")
    rows = [orjson.loads(line) for line in (ROOT / "sample_data" / SAMPLES[pipeline]).read_bytes().splitlines()]
    rng.shuffle(rows)
    half = len(rows) // 2
    scenario = Scenario(
        seed=rng.randrange(1_000),
        server=Server(cached_share=0.2),
        fault=(
            Fault(kind="wrong_shape", share=0.03),
            Fault(kind="truncated", share=0.02),
            Fault(kind="reset_after_execution", share=0.01),
            Fault(kind="slow_body", bytes_per_s=20, share=0.01),
            Fault(kind="server_error", share=0.01),
        ),
    )
    found = []
    with patch.dict(BRAINS, extract=brain(count)), serving(scenario) as server:
        for history, tonight in (
            ("none", rows[:half]),
            ("one night", rows[half // 4 :]),
            ("another prompt", rows[:half]),
        ):
            shell.write("in.jsonl", tonight)
            if history == "another prompt":
                prompt = folder / pipeline / "prompt.j2"
                prompt.write_text(prompt.read_text() + "\nTake your time.\n")
            found.append(_night(shell, pipeline, (counted_by, history), server.base_url, server.account))
    return found


def _night(shell: Shell, pipeline: str, labels: tuple[str, str], url: str, account: Account) -> Night:
    where = (pipeline, "-i", "in.jsonl", "--base-url", url, "--prices", "prices.toml", "--set", "limits.timeout_s=4")
    plan = orjson.loads(shell.call("plan", *where, "--json").stdout)
    before, delivered_before = _dollars(account), _delivered(account)
    shell.call("run", *where, "--quiet", "--max-failed", "100%", expect=0)
    report: dict[str, Any] = orjson.loads((shell.folder / "results" / pipeline / "report.json").read_bytes())
    cost = plan["cost_usd"]
    assert report["planned"]["basis"] == plan["basis"]
    assert abs(report["planned"]["cost_usd"]["likely"] / cost["likely"] - 1) < 0.02, "the run planned otherwise"
    return Night(
        pipeline,
        *labels,
        plan["basis"],
        cost["likely"],
        cost["low"],
        cost["high"],
        report["cost"]["total_usd"],
        _dollars(account) - before,
        _delivered(account) - delivered_before,
        report["cost"]["possibly_paid_usd"],
    )


def _dollars(account: Account) -> Decimal:
    return account.total.dollars(INPUT, OUTPUT, CACHED)


def _delivered(account: Account) -> Decimal:
    """Dollars of answers that reached us whole and in time, by the provider's own account."""
    lost = ("reset_after_execution", "slow_body")
    return sum(
        (sums.dollars(INPUT, OUTPUT, CACHED) for kind, sums in account.by_fault.items() if kind not in lost), Decimal(0)
    )


def adds_up(night: Night) -> bool:
    """The report's dollars are the account's, to a millionth of a cent; lost answers are within their bound."""
    same = abs(Decimal(str(night.actual)) - night.delivered) < Decimal("0.00000001")
    return same and night.delivered <= night.account <= night.delivered + Decimal(str(night.perhaps))


def good(night: Night) -> bool:
    """Whether the plan was near enough."""
    return abs(night.off) <= (LATER if night.history == "one night" else FIRST)


def table(found: Sequence[Night]) -> str:
    """A line a night."""
    head = ("pipeline", "provider counts by", "history", "rests on", "planned", "range", "came to", "off")
    lines = [head, ("---",) * len(head)]
    for night in found:
        span = f"${night.low:.4f} to ${night.high:.4f}"
        money = (f"${night.planned:.4f}", span, f"${night.actual:.4f}", f"{night.off:+.1%}")
        lines.append((night.pipeline, night.counted_by, night.history, night.basis, *money))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    """Run the campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    found: list[Night] = []
    with tempfile.TemporaryDirectory() as folder:
        for pipeline in SAMPLES:
            for name, count in counters().items():
                place = Path(folder) / f"{pipeline}-{len(found)}"
                place.mkdir()
                found += nights(place, pipeline, name, count, random.Random(f"{args.seed} {pipeline} {name}"))
    print(table(found))
    sound = all(map(adds_up, found))
    print(f"plans near enough: {sum(map(good, found))} of {len(found)}; the bills are the account's: {sound}")
    return 0 if sound and all(map(good, found)) else 1


if __name__ == "__main__":
    sys.exit(main())
