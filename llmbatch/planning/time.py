"""How long calls will take: by limits that are set or were learned, or by the speed of earlier runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmbatch.planning.model import Time
from llmbatch.settings import LimitSettings

_ENOUGH_CALLS = 20  #: of a run whose speed tells something


def time_of(calls: float, tokens: float, limits: LimitSettings, reports: Sequence[dict[str, Any]]) -> Time:
    """Of so many calls and tokens. ``reports`` are report.json of earlier runs, newest first."""
    if not calls:
        return Time(0.0, None)
    spans: dict[str, float] = {}
    for name, amount in (("requests_per_minute", calls), ("tokens_per_minute", tokens)):
        found = [rate for rate in (getattr(limits, name), _learned(reports, name)) if rate is not None]
        if found:
            spans[name] = amount / (min(found) * limits.share) * 60
    sent = [
        (r["attempts"]["sent"], r["wall_s"]) for r in reports if r["attempts"]["sent"] >= _ENOUGH_CALLS and _live(r)
    ]
    if sent and (seconds := sum(wall for _, wall in sent)):
        spans["history"] = calls * seconds / sum(number for number, _ in sent)
    if not spans:
        return Time(None, None)
    by = max(spans, key=lambda name: spans[name])
    return Time(spans[by], by)


def _live(report: dict[str, Any]) -> bool:
    """Whether a run's time was that of its calls, and not of batches."""
    return all(tier["tier"] != "batch" for tier in report.get("cost", {}).get("by_tier", ()))


def _learned(reports: Sequence[dict[str, Any]], name: str) -> float | None:
    """The limit as the newest run that had one left it."""
    for report in reports:
        changes = [c["value"] for c in report["limits"]["changes"] if c["what"] == name]
        if changes and changes[-1] is not None:
            return float(changes[-1])
    return None
