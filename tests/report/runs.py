"""Runs to report on, told to the tally as an engine tells them."""

from decimal import Decimal
from typing import Any

from llmbatch.report import Changes, DollarRange, LimitChange, Planned, ResumedRun, RunFacts
from llmbatch.tally import Tally
from llmbatch.types import Attempt, Outcome, Reply, Status, Usage, Verdict

VALID = Verdict(output={"tags": ["billing"]})
INVALID = Verdict(output=None, failure="schema", problems=("tags: too few",))


def reply(model: str = "gpt-5-mini", cost: str | None = "0.0005") -> Reply:
    return Reply(
        raw="{}",
        text="{}",
        finish_reason="stop",
        refusal=None,
        usage=Usage(1_000, 100, cached=200, reasoning=30),
        model=model,
        tier="default",
        cost_usd=None if cost is None else Decimal(cost),
    )


def attempt(answer: Reply | None, latency_s: float = 0.5, outcome: str = "answered", **more: Any) -> Attempt:
    cost = answer.cost_usd if answer else None
    known = {"failure": None, "reason": None, "possibly_paid": False, **more}
    return Attempt("k", 0, 1, 0.0, latency_s, outcome, 200, reply=answer, cost_usd=cost, **known)


def answered(tally: Tally, answer: Reply, verdict: Verdict = VALID, latency_s: float = 0.5) -> None:
    tally.attempted(attempt(answer, latency_s))
    tally.judged(answer, verdict)


def a_night() -> Tally:
    """12 rows: 5 done, 2 reused, 2 failed, 1 skipped, 2 without an outcome; 7 answers, 1 unpriced, 2 invalid."""
    tally = Tally()
    tally.planned(12)
    for n in range(5):
        answered(tally, reply(), latency_s=0.1 * 2**n)
        tally.finished(Outcome(n, Status.DONE), reply())
    answered(tally, reply(), INVALID)
    answered(tally, reply("strange-model", cost=None), INVALID)
    tally.attempted(attempt(None, outcome="rate_limited"))
    tally.attempted(attempt(None, outcome="timeout", possibly_paid=True, worst_usd=Decimal("0.002")))
    for n in range(5, 7):
        tally.finished(Outcome(n, Status.REUSED), reply())
    tally.finished(Outcome(7, Status.FAILED, failure="schema"), None)
    tally.finished(Outcome(8, Status.FAILED, failure="timeout"), None)
    tally.finished(Outcome(9, Status.SKIPPED, failure="too_long"), None)
    tally.noted("the server takes json_object only")
    return tally


def facts(**changed: Any) -> RunFacts:
    known: dict[str, Any] = {
        "run_id": "20261123-220730-4f2a",
        "pipeline": "tag",
        "prompt_version": "ab12cd34ef567890",
        "status": "finished",
        "exit_code": 0,
        "started_at": 1_795_471_650.0,
        "ended_at": 1_795_471_654.0,
        "price_source": "genai-prices 0.2.3 (openai)",
        "label": "v3",
        "model": "gpt-5-mini",
        "input": ("tickets.jsonl",),
        "command": ("llmbatch", "run", "pipelines/tag", "--input", "tickets.jsonl", "--budget", "0.5"),
        "budget_usd": Decimal("0.5"),
        "concurrency_final": 32,
        "limit_changes": (LimitChange(1.5, "concurrency", 32, "no limit in sight"),),
        "resumed": (ResumedRun("20261123-210000-aaaa", Decimal("0.25")),),
        "changes": Changes(reused=2, new=7, changed=3, gone=1),
        "structured_output": "json_object",
        "files": {"results": "results/tag/results.jsonl", "failed": "results/tag/failed.jsonl"},
        "notes": ("ran beside a backup",),
        "planned": Planned(
            9,
            8_000,
            800,
            DollarRange(Decimal("0.0020"), Decimal("0.0025"), Decimal("0.0040")),
            "history of 2 runs, 4,812 answers",
        ),
    }
    return RunFacts(**{**known, **changed})
