"""RunReport -> one HTML page that needs nothing but itself."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from importlib.resources import files
from typing import Any

from llmbatch.report import charts, ladder, quality, schedule, tables, words
from llmbatch.report.advice import next_steps
from llmbatch.report.model import RunReport
from llmbatch.report.words import count, share, usd

_KEPT_CHANGES = 200  #: the limits keep no more
_OUTCOMES = ("done", "reused", "failed", "skipped", "pending")


def html(report: RunReport) -> str:
    """The report as one page: no script, nothing fetched, every foreign text escaped."""
    from minijinja import Environment

    environment = Environment(undefined_behavior="strict", auto_escape_callback=lambda _: "html", trim_blocks=True)
    folder = files("llmbatch.report")
    template = folder.joinpath("page.html.j2").read_text(encoding="utf-8")
    style = folder.joinpath("page.css").read_text(encoding="utf-8")
    return environment.render_str(template, "page.html.j2", style=style, **harmless(_view(report)))


def harmless(value: Any) -> Any:
    """The view with every text in it made visible; escaping is the template's work."""
    if isinstance(value, str):
        return words.plain(value)
    if isinstance(value, dict):
        return {key: harmless(part) for key, part in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return harmless(asdict(value))
    return [harmless(part) for part in value] if isinstance(value, list | tuple) else value


def _view(report: RunReport) -> dict[str, Any]:
    """What the template shows, worded."""
    return {
        "title": f"{report.pipeline}: {words.outcome(report)}",
        "level": words.level(report),
        "outcome": words.outcome(report),
        "identity": words.identity(report),
        "timing": words.timing(report),
        "figures": _figures(report),
        "steps": next_steps(report),
        "reconciliation": words.reconciliation(report),
        "segments": _segments(report),
        "changes": words.changes(report),
        "failures": tables.failures(report),
        "failures_left_off": tables.left_off(report),
        "attempts": tables.attempts(report),
        "concurrency": words.concurrency(report) if report.limits.concurrency_final is not None else None,
        "latency": _latency(report),
        "bars": charts.latency(report),
        "time": charts.over_time(report),
        "limits": tables.limits(report),
        "limits_kept": len(report.limits.changes) if len(report.limits.changes) >= _KEPT_CHANGES else None,
        "slowest": tables.calls(report.slowest),
        "dearest": tables.calls(report.dearest),
        "resumed": [f"{run.run_id}, {usd(run.cost_usd)}" for run in report.resumed],
        "notes": words.notes(report),
        "facts": _facts(report),
        "quality": quality.view(report.quality, report.unasked),
        "ladder": ladder.view(report.ladder),
        **_money(report),
    }


def _money(report: RunReport) -> dict[str, Any]:
    return {
        "dollars": tables.dollars(report),
        "models": tables.models(report),
        "models_total": tables.models_total(report) if len(report.cost.by_model) != 1 else [],
        "tiers": tables.tiers(report),
        "schedule": schedule.table(report.schedule),
        "schedule_summary": schedule.summary(report.schedule) if report.schedule is not None else None,
        "versions": tables.versions(report),
        "version_heads": tables.VERSION_HEADS,
        "remarks": (*words.unpriced_remarks(report), *words.judging(report)),
        "total": words.total(report),
        "planned": tables.planned(report),
        "plan": charts.plan(report),
        "basis": report.planned.basis if report.planned else None,
        "trend": charts.trend(report),
    }


def _figures(report: RunReport) -> list[dict[str, str]]:
    rows, cost, shown = report.rows, report.cost, report.latency_ms
    if cost.unpriced_attempts:
        note = f"{words.number_of(cost.unpriced_attempts, 'answer')} unpriced"
    elif cost.per_1000_done_usd:
        note = f"{usd(cost.per_1000_done_usd)} per 1,000 rows done"
    else:
        note = "this run's attempts"
    return [
        {
            "label": "Valid rows",
            "value": count(rows.valid),
            "note": f"{share(rows.valid, rows.total)} of the input" if rows.total else "the input is empty",
        },
        {"label": "Cost", "value": usd(cost.total_usd), "note": note},
        {
            "label": "Wall time",
            "value": words.duration(report.wall_s),
            "note": words.rate(report.throughput.rows_per_s),
        },
        {
            "label": "Median latency",
            "value": words.latency(shown.p50),
            "note": "nothing was answered"
            if shown.p50 is None
            else f"p95 {words.latency(shown.p95)}, p99 {words.latency(shown.p99)}",
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


def _latency(report: RunReport) -> list[dict[str, str]]:
    shown = report.latency_ms
    return [{"label": name, "value": words.latency(getattr(shown, name))} for name in ("p50", "p95", "p99")]


def _facts(report: RunReport) -> list[dict[str, str]]:
    known = [("Input", path) for path in report.input]
    known += [(name.capitalize(), path) for name, path in report.files.items()]
    if report.structured_output:
        known.append(("Structured output", report.structured_output))
    known.append(("Prices", report.cost.price_source))
    known.append(("Exit status", f"{report.exit_code} ({report.status})"))
    return [{"label": label, "value": value} for label, value in known]
