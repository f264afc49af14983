"""The table of `llmbatch runs`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from io import StringIO
from typing import Any

from llmbatch.cli.past import figures
from llmbatch.report import from_json, tables, words
from llmbatch.report.words import count, plain, usd

_STYLES = {"finished": "green", "died": "red", "too_many_failed": "red"}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the table."""

    head: str
    cells: Sequence[str]
    right: bool = True
    rank: int = 0  #: columns of the highest rank go first where there is no room


def table(nights: Sequence[dict[str, Any]], width: int, *, color: bool) -> str:
    """A line a run, newest first, under a head; where ``width`` does not hold every column, the least needed go."""
    columns = _columns(nights)
    while len(columns) > 3 and sum(_wide(column) + 2 for column in columns) - 2 > width:
        last = max(column.rank for column in columns)
        columns = [column for column in columns if column.rank < last or not last]
        if not last:
            break
    return _drawn(columns, [night["status"] or "died" for night in nights], color=color)


def versions(nights: Sequence[dict[str, Any]], *, color: bool) -> str:
    """Prompt versions side by side, over all runs, as the newest report has them; empty when there is only one."""
    newest = next((night["report"] for night in nights if night["report"]), None)
    rows = tables.versions(from_json(newest)) if newest else []
    if not rows:
        return ""
    heads = (*(head.lower() for head in tables.VERSION_HEADS), "")
    cells = [
        [plain(f"{one[0].main} {one[0].sub}".strip()), *(cell.main for cell in one[1:]), one[-1].sub] for one in rows
    ]
    columns = [Column(head, [row[at] for row in cells], right=at > 0) for at, head in enumerate(heads)]
    return _drawn(columns, [""] * len(rows), color=color)


def _columns(nights: Sequence[dict[str, Any]]) -> list[Column]:
    rows = [night["rows"] or {} for night in nights]
    per_1000 = [((night["report"] or {}).get("cost") or {}).get("per_1000_done_usd") for night in nights]
    told = [dict(figures(night["report"] or {})) for night in nights]
    outcomes = ("done", "reused", "failed", "skipped", "pending")
    ranks = {"skipped": 3, "pending": 2, "reused": 1}
    counts = [
        Column(name, [count(row[name]) if name in row else "-" for row in rows], rank=ranks.get(name, 0))
        for name in outcomes
    ]
    return [
        Column("run", [plain(night["run_id"]) for night in nights], right=False),
        Column("status", [night["status"] or "died" for night in nights], right=False),
        Column("rows", [count(night["total"]) for night in nights], rank=1),
        *counts,
        Column("took", [_took(night) for night in nights], rank=4),
        Column("dollars", [_dollars(night["cost_usd"]) for night in nights]),
        Column("per 1,000", [_dollars(dollars) for dollars in per_1000], rank=5),
        Column("vs plan", [_off_plan(night["report"] or {}) for night in nights], rank=5),
        Column("score", [_share(known, "score") for known in told], rank=7),
        Column("invalid", [_share(known, "invalid_rate") for known in told], rank=8),
        Column("p50", [words.latency(known.get("p50_ms")) for known in told], rank=8),
        Column("prompt", [plain(night["prompt_version"]) for night in nights], right=False, rank=6),
    ]  # fmt: skip


def _took(night: dict[str, Any]) -> str:
    if night["ended_at"] is None:
        return "-"
    return words.duration((night["ended_at"] - night["started_at"]).total_seconds())


def _off_plan(report: dict[str, Any]) -> str:
    """How far the bill is from what was planned when the run began."""
    planned, cost = report.get("planned"), (report.get("cost") or {}).get("total_usd")
    likely = planned["cost_usd"]["likely"] if planned and planned["cost_usd"] else None
    return f"{cost / likely - 1:+.0%}" if likely and cost is not None else "-"


def _share(known: dict[str, float], name: str) -> str:
    return f"{known[name]:.1%}" if name in known else "-"


def _dollars(number: float | Decimal | None) -> str:
    return "-" if number is None else usd(Decimal(str(number)))


def _wide(column: Column) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, (column.head, *column.cells)))


def _drawn(columns: Sequence[Column], statuses: Sequence[str], *, color: bool) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for column in columns:
        grid.add_column(Text(column.head), justify="right" if column.right else "left", no_wrap=True)
    for number, status in enumerate(statuses):
        style = {"status": _STYLES.get(status, "yellow")}
        grid.add_row(*(Text(column.cells[number], style=style.get(column.head, "")) for column in columns))
    console = Console(
        file=StringIO(), width=1_000, force_terminal=color, color_system="standard" if color else None, height=100,
        markup=False, highlight=False, emoji=False, legacy_windows=False,
    )  # fmt: skip
    with console.capture() as capture:
        console.print(grid)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
