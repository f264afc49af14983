"""What a deadline costs: 200 seeded nights under a virtual clock, led by --tier auto and by others::

    python -m tests.bench.tiers [NIGHTS [FIRST SEED]] [--verbose]

Prints, for auto, an oracle that knew the future, always-live, always-flex and always-batch, the mean cost (as a part
of what standard calls cost) and the share of the deadlines met, of those that pure live work could have met.
"""

from __future__ import annotations

import sys
from statistics import fmean

from llmbatch.schedule import State
from tests.schedule.worlds import Night, always, auto, draw, oracle_usd

TITLES = {
    "oracle": "oracle",
    "auto": "--tier auto",
    "standard": "always live",
    "flex": "always flex",
    "batch": "always batch",
}


def tell(night: Night, state: State, paid: float, best: float) -> None:
    """One night and its decisions."""
    tight, hours = night.live_s / night.end_s, night.deadline_s / 3600
    print(
        f"{night.seed}: {paid:.2f}, oracle {best:.2f}; live work takes {tight:.2f} of {hours:.1f} h,"
        f" batch median {night.batch_median_s:.0f} s, flex {night.flex}"
    )
    for one in state.decided:
        print(f"    {one.at:8.0f} {one.tier:8} {one.left:>7,} left: {one.reason}")


def main() -> None:
    """Run and print."""
    numbers = [word for word in sys.argv[1:] if word.isdigit()]
    count, first = (*map(int, numbers), *(200, 0)[len(numbers) :])
    nights = [draw(seed) for seed in range(first, first + count)]
    feasible = [night for night in nights if night.live_makes_it]
    costs: dict[str, list[float]] = {name: [] for name in ("oracle", "auto", "standard", "flex", "batch")}
    met: dict[str, int] = dict.fromkeys(costs, 0)
    late: list[tuple[Night, float]] = []
    twice = 0.0
    for night in feasible:
        whole = night.rows * (1 + night.reasked)
        world, state = auto(night)
        best = oracle_usd(night)
        costs["auto"].append(world.usd / whole)
        costs["oracle"].append(best / whole)
        met["auto"] += world.met
        met["oracle"] += 1
        twice += world.twice
        if not world.met:
            late.append((night, world.ended_at))
        for tier in ("standard", "flex", "batch"):
            other = always(night, tier if tier in night.price else "standard")
            costs[tier].append(other.usd / whole)
            met[tier] += other.met
        if "--verbose" in sys.argv:
            tell(night, state, world.usd / whole, best / whole)
    print(f"{len(nights)} nights, {len(feasible)} of them with a deadline that pure live work meets")
    for name, title in TITLES.items():
        print(f"{title:14} cost {fmean(costs[name]):.3f}  deadlines met {met[name]:>3} of {len(feasible)}")
    ratio = fmean(costs["auto"]) / fmean(costs["oracle"])
    rows = sum(night.rows for night in feasible)
    print(f"auto over oracle: {ratio:.3f}; rows paid twice: {twice:,.0f} of {rows:,}, or {twice / rows:.2%}")
    for night, ended in late:
        print(f"late: {night} ended {ended:.0f} of {night.end_s:.0f}")
    sys.exit(bool(late) or ratio > 1.10)


if __name__ == "__main__":
    main()
