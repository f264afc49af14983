"""llmbatch run: one night, or the rest of one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from llmbatch.cli.gate import tell_events
from llmbatch.cli.order import Order, refuse_paths

EXIT_STATUS = """EXIT STATUS

0 every row valid, or failures within max_failed
1 fault in llmbatch
2 mistake in usage, pipeline or input, nothing sent
3 finished, too many rows failed
4 budget reached, resumable
5 deadline reached, resumable
6 provider refused or unreachable, resumable
7 quality gate failed
74 storage failed, resumable
75 another run holds the ledger
129, 130, 143 interrupted, resumable"""

_SENDING, _OUTPUT, _STOPPING, _ROWS = "Where it is sent", "Output", "When to stop", "Which rows"
_OUTSIDE = "For other programs"


def run(
    pipeline: Annotated[Path, typer.Argument(metavar="PIPELINE", help="The pipeline's folder.")],
    input: Annotated[
        list[str],
        typer.Option(
            "--input", "-i", metavar="FILE", help="JSONL (also .gz, .zst) or Parquet; a glob; - for stdin. Repeatable."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder of results and reports. \\[results/PIPELINE]",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(
            "--ledger",
            metavar="FILE",
            help="The DuckDB file of progress. \\[.llmbatch/PIPELINE.duckdb]",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    provider: Annotated[
        Literal["openai", "offline"] | None,
        typer.Option(help="Who answers; offline needs no key.", rich_help_panel=_SENDING),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Another model; changes every key.", rich_help_panel=_SENDING)
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="An OpenAI-compatible server.", rich_help_panel=_SENDING)
    ] = None,
    allow_insecure: Annotated[
        bool,
        typer.Option("--allow-insecure", help="Send to another machine without TLS.", rich_help_panel=_SENDING),
    ] = False,
    tier: Annotated[
        Literal["standard", "flex", "batch"] | None,
        typer.Option(
            help="Half the price: flex is slower, batch takes up to a day. \\[standard]", rich_help_panel=_SENDING
        ),
    ] = None,
    detach: Annotated[
        bool,
        typer.Option(
            "--detach",
            help="With --tier batch: hand in, fetch what is ready, wait for nothing.",
            rich_help_panel=_SENDING,
        ),
    ] = False,
    concurrency: Annotated[
        str | None, typer.Option(metavar="N|auto", help="Requests in flight.", rich_help_panel=_SENDING)
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the first N rows.", rich_help_panel=_ROWS)
    ] = None,
    retry_failed: Annotated[
        str | None,
        typer.Option(
            metavar="[CLASS]",
            help="Ask failed rows again: all, or these classes (comma-separated).",
            rich_help_panel=_ROWS,
        ),
    ] = None,
    skip_bad_rows: Annotated[
        bool,
        typer.Option(
            "--skip-bad-rows",
            help="Broken rows, and rows without id or required columns, become skipped.",
            rich_help_panel=_ROWS,
        ),
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="USD",
            help="Spend at most this much, with the unfinished runs it goes on with.",
            rich_help_panel=_STOPPING,
        ),
    ] = None,
    prices: Annotated[
        Path | None,
        typer.Option(
            "--prices",
            metavar="FILE",
            help="TOML with \\[prices.MODEL] tables; they count first.",
            rich_help_panel=_STOPPING,
        ),
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(metavar="TIME", help='Stop in time for "06:00", or after "8h".', rich_help_panel=_STOPPING),
    ] = None,
    max_failed: Annotated[
        str | None, typer.Option(metavar="N|P%", help="More failed rows give exit status 3.", rich_help_panel=_STOPPING)
    ] = None,
    wait: Annotated[
        str | None,
        typer.Option(metavar="[TIME]", help="Wait for another run to end, at most so long.", rich_help_panel=_STOPPING),
    ] = None,
    format: Annotated[
        Literal["jsonl", "parquet"] | None,
        typer.Option(help="Of the results. \\[the input's]", rich_help_panel=_OUTPUT),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override pipeline.toml. Repeatable.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print report.json at the end.", rich_help_panel=_OUTPUT)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress, no report.", rich_help_panel=_OUTPUT)
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say each change of the limits.", rich_help_panel=_OUTPUT)
    ] = False,
    log_format: Annotated[
        Literal["text", "json"],
        typer.Option(help="json: an event a line on standard error.", rich_help_panel=_OUTSIDE),
    ] = "text",
    metrics_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="For Prometheus: node_exporter's textfile.", rich_help_panel=_OUTSIDE),
    ] = None,
    otel: Annotated[
        bool,
        typer.Option(
            "--otel",
            help="Traces and metrics to an OpenTelemetry collector, as OTEL_* say. Needs the extra llmbatch\\[otel].",
            rich_help_panel=_OUTSIDE,
        ),
    ] = False,
    on_finish: Annotated[
        str | None,
        typer.Option(
            metavar="CMD",
            help="Run by sh when the run has ended, however it ended; the outcome is in LLMBATCH_*.",
            rich_help_panel=_OUTSIDE,
        ),
    ] = None,
    on_finish_timeout: Annotated[
        str, typer.Option(metavar="TIME", help="How long it may take.", rich_help_panel=_OUTSIDE)
    ] = "60s",
) -> int:
    """Run a pipeline over a file, or go on with a run that stopped.

    Type the same command again after any stop: rows that are answered are not paid for again.
    """
    from llmbatch.cli.night import run_night

    if log_format == "json":
        tell_events(quiet=quiet)
    overrides = {
        "provider.kind": provider,
        "request.model": model,
        "provider.base_url": base_url,
        "provider.allow_insecure": "true" if allow_insecure else None,
        "limits.concurrency": concurrency,
        "limits.tier": tier,
        "limits.budget_usd": budget,
        "limits.max_failed": max_failed,
    }
    order = Order(
        pipeline=pipeline,
        inputs=tuple(input),
        output=output,
        ledger=ledger,
        overrides=(*(set_ or ()), *(f"{key}={value}" for key, value in overrides.items() if value is not None)),
        prices=prices,
        limit=limit,
        retry_failed=retry_failed,
        skip_bad_rows=skip_bad_rows,
        deadline=deadline,
        detach=detach,
        wait=wait,
        format=format,
        json=json,
        quiet=quiet,
        verbose=verbose,
        metrics_file=metrics_file,
        otel=otel,
        on_finish=on_finish,
        on_finish_timeout=on_finish_timeout,
    )
    refuse_paths(order)
    return run_night(order)
