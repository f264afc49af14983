"""Comparison -> one HTML page that needs nothing but itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from llmbatch.candidates import Candidate, Comparison
from llmbatch.report import contest
from llmbatch.report.page import harmless
from llmbatch.report.quality import percent, span

_HEAD = [
    "Candidate",
    "Score",
    "95 %",
    "$ / 1,000 rows",
    "Flex",
    "Batch",
    "p50",
    "p95",
    "Invalid",
    "Failed",
    "Rows/hour",
]
_WIDE, _HIGH, _LEFT, _BOTTOM, _EDGE = 640.0, 300.0, 60.0, 40.0, 24.0
_LOG_FROM = 5.0  #: times as dear; then the prices stand on a logarithmic scale


def html(found: Comparison) -> str:
    """The comparison as one page: no script, nothing fetched, every foreign text escaped."""
    from minijinja import Environment

    environment = Environment(undefined_behavior="strict", auto_escape_callback=lambda _: "html", trim_blocks=True)
    folder = files("llmbatch.report")
    template = folder.joinpath("contest.html.j2").read_text(encoding="utf-8")
    style = folder.joinpath("page.css").read_text(encoding="utf-8")
    return environment.render_str(template, "contest.html.j2", style=style, **harmless(_view(found)))


def _view(found: Comparison) -> dict[str, Any]:
    return {
        "title": f"{found.pipeline}: {found.reason}",
        "level": "ok" if found.named is not None or not found.goal.any else "warn",
        "head": contest.head(found),
        "at": found.at,
        "reason": found.reason,
        "certificates": [f"{name}: {line}" for name, line in contest.certified(found)],
        "columns": _HEAD,
        "rows": [contest.cells(one) for one in found.candidates],
        "plot": _plot(found),
        "paid": contest.paid(found),
        "facts": [
            {"label": "Input", "value": ", ".join(found.input)},
            {"label": "Fingerprint", "value": found.fingerprint},
            {"label": "Seed", "value": str(found.seed)},
            *({"label": f"Run of {one.name}", "value": one.run_id} for one in found.candidates),
        ],
    }


def _plot(found: Comparison) -> dict[str, Any] | None:
    """Price to the right, score upwards, each with its interval; None when no price is known."""
    priced = [one for one in found.candidates if one.price is not None]
    if not priced:
        return None
    low = min(one.interval.low for one in priced)
    high = max(one.interval.high for one in priced)
    target = found.goal.min_quality
    low, high = min(low, target or low), max(high, target or high)
    across = _Scale([one.price or 0.0 for one in priced])

    def y(share: float) -> float:
        return round(_HIGH - _BOTTOM - (share - low) / max(high - low, 1e-9) * (_HIGH - _BOTTOM - _EDGE), 1)

    points = [_point(one, across.x(one.price or 0.0), y, named=one.name == found.named) for one in priced]
    return {
        "points": points,
        "front": " ".join(f"{p['x']},{p['y']}" for p in points if p["efficient"]),
        "target": None if target is None else {"y": y(target), "words": f"wanted: {percent(target)}"},
        "ticks": [{"y": y(share), "words": percent(share)} for share in (low, high)],
        "cheapest": contest.dollars(min(one.price or 0.0 for one in priced)),
        "dearest": contest.dollars(max(one.price or 0.0 for one in priced)),
        "scale": " (logarithmic)" if across.logarithmic else "",
        "words": "; ".join(p["words"] for p in points),
    }


class _Scale:
    """Dollars -> places across the plot."""

    def __init__(self, prices: Sequence[float]) -> None:
        least, most = min(prices), max(prices)
        self.logarithmic = least > 0 and most / least >= _LOG_FROM
        self._least, self._most = map(self._value, (least, most))

    def _value(self, price: float) -> float:
        return math.log(price) if self.logarithmic else price

    def x(self, price: float) -> float:
        """The place of a price."""
        part = (self._value(price) - self._least) / (self._most - self._least) if self._most > self._least else 0.5
        return round(_LEFT + _EDGE + part * (_WIDE - _LEFT - 2 * _EDGE), 1)


def _point(one: Candidate, x: float, y: Any, *, named: bool) -> dict[str, Any]:
    right = x > _WIDE * 0.6
    return {
        "x": x,
        "y": y(one.mean),
        "low": y(one.interval.low),
        "high": y(one.interval.high),
        "name": one.name,
        "named": named,
        "efficient": one.efficient,
        "label_x": x - 10 if right else x + 10,
        "anchor": "end" if right else "start",
        "words": f"{one.name}: {percent(one.mean)} ({span(one.interval)}), {contest.dollars(one.price)} per 1,000 rows",
    }
