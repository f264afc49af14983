"""Reports to look at: every kind of run, written as pages.

python -m tests.report.scenes FOLDER
"""

from __future__ import annotations

import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from llmbatch.report import (
    DollarRange,
    LimitChange,
    PastRun,
    Planned,
    RunReport,
    VersionCost,
    build,
    html,
)
from llmbatch.tally import Look, Tally
from llmbatch.types import Outcome, Status, Usage
from tests.report.runs import INVALID, answered, attempt, facts, reply

HOSTILE = 'x<script>alert(1)</script>"><img src=x> \x1b[2J\u202e {{ 7*7 }} ' + "w" * 90


def good() -> RunReport:
    tally = _asked(1_200)
    _time(tally, [40 + 3 * (n % 5) for n in range(60)])
    return build(
        tally, facts(ended_at=facts().started_at + 31, resumed=(), notes=(), planned=_planned(), trend=_trend())
    )


def bad() -> RunReport:
    tally = _asked(900)
    for n, (name, problem) in enumerate(
        [("schema", "tags: [] has less than 1 item"), ("timeout", "no answer in 60 s")] * 4
    ):
        outcome = Outcome(900 + n, Status.FAILED, f"T-{n}", "k", failure=name)
        tally.finished(outcome, None)
        tally.failed(outcome, f"tickets.jsonl:{901 + n}", lambda problem=problem: problem)  # type: ignore[misc]
    for n in range(40):
        tally.attempted(attempt(None, outcome="rate_limited"))
        tally.attempted(attempt(None, 60.0, outcome="timeout", possibly_paid=n % 2 == 0))
    tally.planned(908)
    _time(tally, [80] * 20 + [10] * 10 + [80] * 20 + [0] * 40 + [5] * 10 + [60] * 60)
    changes = (
        LimitChange(1.0, "concurrency", 16, "no queue seen"), LimitChange(2.0, "concurrency", 64, "no queue seen"),
        LimitChange(5.0, "pause", 2.5, "rate limited"), LimitChange(5.1, "concurrency", 48, "23% rate limited"),
        LimitChange(12.5, "breaker", 1, "rows in a row failed for the provider's reasons; probing"),
        LimitChange(22.5, "breaker", 0, "the provider answers again"),
        LimitChange(22.6, "concurrency", 8, "begin again after an outage"),
        LimitChange(30.0, "concurrency", 56, "no queue seen"),
    )  # fmt: skip
    return build(tally, facts(exit_code=3, status="too_many_failed", limit_changes=changes, trend=_trend(),
                              ended_at=facts().started_at + 40))  # fmt: skip


def interrupted() -> RunReport:
    tally = _asked(300)
    tally.planned(2_000)
    _time(tally, [40] * 16)
    return build(tally, facts(exit_code=130, status="interrupted", notes=("interrupted by SIGINT",)))


def empty() -> RunReport:
    return build(Tally(), facts(concurrency_final=None, limit_changes=(), resumed=(), notes=(), changes=None))


def hostile() -> RunReport:
    tally = Tally()
    tally.planned(3)
    answered(tally, reply(HOSTILE, cost=None))
    for status in (Status.FAILED, Status.SKIPPED):
        outcome = Outcome(1, status, row_id=HOSTILE, failure=HOSTILE)
        tally.finished(outcome, None)
        tally.failed(outcome, HOSTILE, lambda: HOSTILE)
    tally.noted(HOSTILE)
    named = dict.fromkeys(("run_id", "pipeline", "label", "model", "status", "price_source"), HOSTILE)
    return build(tally, facts(**named, input=(HOSTILE,), files={HOSTILE: HOSTILE}, command=("llmbatch", HOSTILE),
                              limit_changes=(LimitChange(0.0, HOSTILE, 1, HOSTILE),), exit_code=5))  # fmt: skip


def classes() -> RunReport:
    tally = _asked(100)
    tally.planned(100 + 30 * 5)
    for n in range(30):
        for m in range(5):
            outcome = Outcome(100 + 5 * n + m, Status.FAILED if n % 3 else Status.SKIPPED, failure=f"class_{n}")
            tally.finished(outcome, None)
            tally.failed(outcome, f"in.jsonl:{5 * n + m}", lambda: "a problem of some length, with what was expected")
    return build(tally, facts(exit_code=3, resumed=()))


SCENES = {"good": good, "bad": bad, "interrupted": interrupted, "empty": empty, "hostile": hostile, "classes": classes}


def _asked(rows: int) -> Tally:
    tally = Tally()
    tally.planned(rows)
    tally.saved_by = None
    for n in range(rows):
        answer = replace(reply(cost=str(Decimal("0.0004") + Decimal(n % 37) / 100_000)), usage=Usage(900, 60, 200))
        if n % 25 == 0:
            answered(tally, answer, INVALID, 0.9)
        if n % 10 == 0:
            tally.finished(Outcome(n, Status.REUSED, f"T-{n}"), answer)
            continue
        tally.attempted(replace(attempt(answer, 0.15 + (n * 7919 % 997) / 600), row_no=n))
        tally.valid += 1
        tally.finished(Outcome(n, Status.DONE, f"T-{n}"), answer)
    tally.saved_by_cache_usd = Decimal("0.0412")
    return tally


def _time(tally: Tally, answers: list[int]) -> None:
    at, total = 0.0, 0
    for n, more in enumerate(answers):
        at, total = at + 0.25, total + more
        limit = min(64, 8 * 2 ** (n // 4))
        held = {"paused": more == 10, "down": more == 0}
        tally.timeline.add(at, Look(total, total, total / 2_000, min(limit, more), limit, **held))


def _planned() -> Planned:
    span = DollarRange(Decimal("0.55"), Decimal("0.66"), Decimal("0.81"))
    return Planned(1_130, 1_010_000, 70_000, span, "history of 2 runs, 4,812 answers")


def _trend() -> tuple[PastRun, ...]:
    return tuple(
        PastRun(f"202611{n:02}T010000-aaaaaa", f"2026-11-{n:02}T01:00:00Z", "finished", "ab12", 1_200, 1_000 + n,
                Decimal("0.6"), Decimal("0.5"), Decimal("0.5") + Decimal(n % 4) / 20)
        for n in range(10, 22)
    )  # fmt: skip


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, scene in SCENES.items():
        report = scene()
        if name == "good":
            versions = (VersionCost("ab12cd34ef56", "v3", 13, 14_000, Decimal("7.1"), 0),
                        VersionCost("99887766aabb", "v2", 4, 4_000, Decimal("1.9"), 0))  # fmt: skip
            report = replace(report, cost=replace(report.cost, by_prompt_version=versions))
        (folder / f"{name}.html").write_text(html(report), encoding="utf-8")
