"""llmbatch plan: what a run would do and cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from llmbatch.cli.order import Order, refuse_paths

EXIT_STATUS = """EXIT STATUS

0 the plan is printed
1 fault in llmbatch
2 mistake in usage, pipeline or input, nothing sent
74 storage failed
75 a run holds the ledger
129, 130, 143 interrupted
3, 4, 5, 6 of --probe, as of a run"""


def plan(
    pipeline: Annotated[Path, typer.Argument(metavar="PIPELINE", help="The pipeline's folder.")],
    input: Annotated[
        list[str],
        typer.Option(
            "--input", "-i", metavar="FILE", help="JSONL (also .gz, .zst) or Parquet; a glob; - for stdin. Repeatable."
        ),
    ],
    ledger: Annotated[
        Path | None,
        typer.Option("--ledger", metavar="FILE", help="The DuckDB file of progress. \\[.llmbatch/PIPELINE.duckdb]"),
    ] = None,
    probe: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Ask N random new rows first: costs money, and is stored for the run."),
    ] = None,
    provider: Annotated[Literal["openai", "offline"] | None, typer.Option(help="Who would answer.")] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="Another model; changes every key.")] = None,
    base_url: Annotated[str | None, typer.Option(metavar="URL", help="An OpenAI-compatible server.")] = None,
    tier: Annotated[Literal["standard", "flex", "batch"] | None, typer.Option(help="As of run.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the first N rows.")] = None,
    retry_failed: Annotated[str | None, typer.Option(metavar="[CLASS]", help="As of run.")] = None,
    skip_bad_rows: Annotated[bool, typer.Option("--skip-bad-rows", help="As of run.")] = False,
    budget: Annotated[
        str | None, typer.Option(metavar="USD", help="Say whether it is enough; a probe keeps to it.")
    ] = None,
    prices: Annotated[
        Path | None,
        typer.Option("--prices", metavar="FILE", help="TOML with \\[prices.MODEL] tables; they count first."),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override pipeline.toml. Repeatable.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> int:
    """What a run would reuse, ask and cost. Sends nothing without --probe."""
    from llmbatch.cli.outlook import look_ahead

    overrides = {
        "provider.kind": provider,
        "request.model": model,
        "provider.base_url": base_url,
        "limits.tier": tier,
        "limits.budget_usd": budget,
    }
    order = Order(
        pipeline=pipeline,
        inputs=tuple(input),
        ledger=ledger,
        overrides=(*(set_ or ()), *(f"{key}={value}" for key, value in overrides.items() if value is not None)),
        prices=prices,
        limit=limit,
        retry_failed=retry_failed,
        skip_bad_rows=skip_bad_rows,
        json=json,
    )
    refuse_paths(order)
    return look_ahead(order, probe)
