"""The flags that commands share: what each is called, takes and means, and which setting it overrides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

SENDING, OUTPUT, STOPPING, ROWS = "Where it is sent", "Output", "When to stop", "Which rows"

PipelineFolder = Annotated[Path, typer.Argument(metavar="PIPELINE", help="The pipeline's folder.")]
InputFiles = Annotated[
    list[str],
    typer.Option(
        "--input",
        "-i",
        metavar="FILE",
        help="JSONL (also .gz, .zst) or Parquet; a glob; - for stdin; s3://, gs://, az://, https://; "
        "FILE.duckdb::TABLE; a folder of Hive partitions. Repeatable.",
    ),
]
LedgerFile = Annotated[
    Path | None,
    typer.Option("--ledger", metavar="FILE", help="The DuckDB file of progress. \\[.llmbatch/PIPELINE.duckdb]"),
]
Provider = Annotated[
    Literal["openai", "offline"] | None,
    typer.Option(help="Who answers; offline needs no key.", rich_help_panel=SENDING),
]
Model = Annotated[
    str | None, typer.Option(metavar="NAME", help="Another model; changes every key.", rich_help_panel=SENDING)
]
BaseUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="An OpenAI-compatible server.", rich_help_panel=SENDING)
]
AllowInsecure = Annotated[
    bool, typer.Option("--allow-insecure", help="Send to another machine without TLS.", rich_help_panel=SENDING)
]
Concurrency = Annotated[str | None, typer.Option(metavar="N|auto", help="Requests in flight.", rich_help_panel=SENDING)]
Limit = Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the first N rows.", rich_help_panel=ROWS)]
RetryFailed = Annotated[
    str | None,
    typer.Option(
        metavar="[CLASS]", help="Ask failed rows again: all, or these classes (comma-separated).", rich_help_panel=ROWS
    ),
]
SkipBadRows = Annotated[
    bool,
    typer.Option(
        "--skip-bad-rows",
        help="Broken rows, and rows without id or required columns, become skipped.",
        rich_help_panel=ROWS,
    ),
]
Prices = Annotated[
    Path | None,
    typer.Option("--prices", metavar="FILE", help="TOML with \\[prices.MODEL] tables; they count first."),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override pipeline.toml. Repeatable.")
]
Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
ReportAsJson = Annotated[bool, typer.Option("--json", help="Print report.json at the end.", rich_help_panel=OUTPUT)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no report.", rich_help_panel=OUTPUT)]

_SETTINGS = {
    "provider": "provider.kind",
    "model": "request.model",
    "base_url": "provider.base_url",
    "allow_insecure": "provider.allow_insecure",
    "concurrency": "limits.concurrency",
    "tier": "limits.tier",
    "budget": "limits.budget_usd",
    "max_failed": "limits.max_failed",
    "ray_address": "ray.address",
    "workers": "ray.workers",
}


def overrides(set_: Sequence[str] | None, **flags: str | int | bool | None) -> tuple[str, ...]:
    """What --set and the flags override, as ``key=value``; flags that were not given override nothing."""
    given = {_SETTINGS[flag]: value for flag, value in flags.items() if value is not None and value is not False}
    return (*(set_ or ()), *(f"{key}={'true' if value is True else value}" for key, value in given.items()))
