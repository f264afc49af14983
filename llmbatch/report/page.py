"""RunReport -> one HTML page that needs nothing but itself."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from llmbatch.report import words
from llmbatch.report.advice import next_steps
from llmbatch.report.model import RunReport
from llmbatch.report.words import count, share, usd

_MAX_CHANGES = 40
_OUTCOMES = ("done", "reused", "failed", "skipped", "pending")


def html(report: RunReport) -> str:
    """The report as one page: no script, nothing fetched, every foreign text escaped."""
    from minijinja import Environment

    environment = Environment(undefined_behavior="strict", auto_escape_callback=lambda _: "html", trim_blocks=True)
    template = files("llmbatch.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    return environment.render_str(template, "page.html.j2", **_harmless(_view(report)))


def _harmless(value: Any) -> Any:
    """The view with every text in it made visible; escaping is the template's work."""
    if isinstance(value, str):
        return words.plain(value)
    if isinstance(value, dict):
        return {key: _harmless(part) for key, part in value.items()}
    return [_harmless(part) for part in value] if isinstance(value, list | tuple) else value


def _view(report: RunReport) -> dict[str, Any]:
    """What the template shows, worded."""
    return {
        "title": f"{report.pipeline}: {words.outcome(report)}",
        "level": words.level(report),
        "outcome": words.outcome(report),
        "identity": words.identity(report),
        "timing": words.timing(report),
        "figures": _figures(report),
        "steps": [{"text": step.text, "command": step.command} for step in next_steps(report)],
        "reconciliation": words.reconciliation(report),
        "segments": _segments(report),
        "changes": words.changes(report),
        "failures": _failures(report),
        "attempts": _attempts(report),
        "cost": _cost(report),
        "remarks": words.cost_remarks(report),
        "total": words.total(report),
        "tokens": _tokens(report),
        "latency": _latency(report),
        "bars": _bars(report),
        "limits": _limits(report),
        "limits_left_off": max(0, len(report.limits.changes) - _MAX_CHANGES),
        "concurrency": words.concurrency(report) if report.limits.concurrency_final is not None else None,
        "resumed": [f"{run.run_id}, {usd(run.cost_usd)}" for run in report.resumed],
        "notes": report.notes,
        "facts": _facts(report),
    }


def _cell(main: str, sub: str = "") -> dict[str, str]:
    return {"main": main, "sub": sub}


def _figures(report: RunReport) -> list[dict[str, str]]:
    rows, cost = report.rows, report.cost
    unpriced = f"{count(cost.unpriced_attempts)} attempts unpriced" if cost.unpriced_attempts else ""
    return [
        {"label": "Valid rows", "value": count(rows.valid), "note": f"{share(rows.valid, rows.total)} of the input"},
        {"label": "Cost", "value": usd(cost.total_usd), "note": unpriced or "this run's attempts"},
        {
            "label": "Wall time",
            "value": words.duration(report.wall_s),
            "note": words.rate(report.throughput.rows_per_s),
        },
        {
            "label": "Median latency",
            "value": words.latency(report.latency_ms.p50),
            "note": f"p99 {words.latency(report.latency_ms.p99)}",
        },
    ]


def _segments(report: RunReport) -> list[dict[str, Any]]:
    """The parts of the rows' bar, in thousandths of its width; a few rows among millions can still be seen."""
    total = report.rows.total
    parts = {name: getattr(report.rows, name) for name in _OUTCOMES}
    drawn = {name: max(rows / total, 0.005) if rows and total else 0.0 for name, rows in parts.items()}
    scale = 1000 / (sum(drawn.values()) or 1)
    at, segments = 0.0, []
    for name, rows in parts.items():
        place = {"x": round(at, 2), "width": round(drawn[name] * scale, 2)}
        segments.append({"name": name, "rows": count(rows), "share": share(rows, total), **place})
        at += drawn[name] * scale
    return segments


def _failures(report: RunReport) -> list[list[dict[str, str]]]:
    total = report.rows.total
    return [
        [_cell(name, sub), _cell(count(rows)), _cell(share(rows, total))]
        for sub, classes in (("failed", report.failures), ("skipped", report.skips))
        for name, rows in classes.items()
    ]


def _attempts(report: RunReport) -> list[list[dict[str, str]]]:
    sums = report.attempts
    kinds = {
        "answered, valid": sums.ok,
        "answered, invalid": sums.invalid,
        "rate limited": sums.rate_limited,
        "timed out": sums.timeout,
        "transient fault": sums.transient,
        "rejected": sums.rejected,
        "refused": sums.refused,
    }
    return [[_cell(kind), _cell(count(n)), _cell(share(n, sums.sent))] for kind, n in kinds.items() if n]


def _cost(report: RunReport) -> list[list[dict[str, str]]]:
    return [
        [
            _cell(model.model, f"{count(model.unpriced_attempts)} unpriced" if model.unpriced_attempts else ""),
            _cell(usd(model.cost_usd)),
            _cell(count(model.attempts)),
            _cell(count(model.input), f"{count(model.cached)} cached" if model.cached else ""),
            _cell(count(model.output), f"{count(model.reasoning)} reasoning" if model.reasoning else ""),
        ]
        for model in report.cost.by_model
    ]


def _tokens(report: RunReport) -> list[dict[str, str]]:
    """The last line of the bill."""
    sums, answers = report.tokens, sum(model.attempts for model in report.cost.by_model)
    return [
        _cell("Total"),
        _cell(usd(report.cost.total_usd)),
        _cell(count(answers)),
        _cell(count(sums.input), f"{count(sums.cached)} cached" if sums.cached else ""),
        _cell(count(sums.output), f"{count(sums.reasoning)} reasoning" if sums.reasoning else ""),
    ]


def _latency(report: RunReport) -> list[dict[str, str]]:
    shown = report.latency_ms
    return [{"label": name, "value": words.latency(getattr(shown, name))} for name in ("p50", "p95", "p99")]


def _bars(report: RunReport) -> list[dict[str, Any]]:
    bars = report.latency_ms.histogram
    most = max((bar.count for bar in bars), default=0)
    return [
        {
            "height": round(100 * bar.count / most, 2) if most else 0,
            "rows": words.number_of(bar.count, "answer"),
            "start": words.latency(bar.from_ms),
            "end": words.latency(bar.to_ms),
        }
        for bar in bars
    ]


def _limits(report: RunReport) -> list[list[dict[str, str]]]:
    return [
        [_cell(change.reason), _cell(words.duration(change.at_s)), _cell(words.limit(change))]
        for change in report.limits.changes[-_MAX_CHANGES:]
    ]


def _facts(report: RunReport) -> list[dict[str, str]]:
    known = [("Input", path) for path in report.input]
    known += [(name.capitalize(), path) for name, path in report.files.items()]
    if report.structured_output:
        known.append(("Structured output", report.structured_output))
    known.append(("Exit status", f"{report.exit_code} ({report.status})"))
    return [{"label": label, "value": value} for label, value in known]
