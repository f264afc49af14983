"""llmbatch run: one night, or the rest of one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from llmbatch.cli import flags
from llmbatch.cli.gate import tell_events

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

_OUTSIDE = "For other programs"


def run(
    pipeline: flags.PipelineFolder,
    input: flags.InputFiles,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder of results and reports, or s3://, gs://, az://. \\[results/PIPELINE]",
            rich_help_panel=flags.OUTPUT,
        ),
    ] = None,
    ledger: flags.LedgerFile = None,
    provider: flags.Provider = None,
    model: flags.Model = None,
    base_url: flags.BaseUrl = None,
    allow_insecure: flags.AllowInsecure = False,
    tier: Annotated[
        Literal["standard", "flex", "batch", "auto"] | None,
        typer.Option(
            help="Half the price: flex is slower, batch takes up to a day; auto: the least that meets the --deadline."
            " \\[standard]",
            rich_help_panel=flags.SENDING,
        ),
    ] = None,
    detach: Annotated[
        bool,
        typer.Option(
            "--detach",
            help="With --tier batch or auto: hand in, fetch what is ready, wait for nothing.",
            rich_help_panel=flags.SENDING,
        ),
    ] = False,
    concurrency: flags.Concurrency = None,
    engine: Annotated[
        Literal["live", "ray"],
        typer.Option(
            help="ray: workers on a Ray cluster make the calls. Needs the extra llmbatch\\[ray].",
            rich_help_panel=flags.SENDING,
        ),
    ] = "live",
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Of the cluster: auto or HOST:PORT. \\[RAY_ADDRESS, else one on this machine]",
            rich_help_panel=flags.SENDING,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Of --engine ray. \\[one a machine, two at least]", rich_help_panel=flags.SENDING
        ),
    ] = None,
    limit: flags.Limit = None,
    retry_failed: flags.RetryFailed = None,
    skip_bad_rows: flags.SkipBadRows = False,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="USD",
            help="Spend at most this much, with the unfinished runs it goes on with.",
            rich_help_panel=flags.STOPPING,
        ),
    ] = None,
    prices: flags.Prices = None,
    deadline: Annotated[
        str | None,
        typer.Option(metavar="TIME", help='Stop in time for "06:00", or after "8h".', rich_help_panel=flags.STOPPING),
    ] = None,
    max_failed: Annotated[
        str | None,
        typer.Option(metavar="N|P%", help="More failed rows give exit status 3.", rich_help_panel=flags.STOPPING),
    ] = None,
    wait: Annotated[
        str | None,
        typer.Option(
            metavar="[TIME]", help="Wait for another run to end, at most so long.", rich_help_panel=flags.STOPPING
        ),
    ] = None,
    format: Annotated[
        Literal["jsonl", "parquet"] | None,
        typer.Option(help="Of the results. \\[the input's]", rich_help_panel=flags.OUTPUT),
    ] = None,
    partition_by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Also write results/COLUMN=VALUE/... as Parquet. Repeatable.",
            rich_help_panel=flags.OUTPUT,
        ),
    ] = None,
    set_: flags.Set = None,
    json: flags.ReportAsJson = False,
    quiet: flags.Quiet = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say each change of the limits.", rich_help_panel=flags.OUTPUT)
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
    from llmbatch.cli.order import Order

    if log_format == "json":
        tell_events(quiet=quiet)
    given = flags.overrides(
        set_, provider=provider, model=model, base_url=base_url, allow_insecure=allow_insecure, tier=tier,
        concurrency=concurrency, budget=budget, max_failed=max_failed, ray_address=ray_address, workers=workers,
    )  # fmt: skip
    order = Order(
        pipeline=pipeline,
        inputs=tuple(input),
        output=output,
        ledger=ledger,
        overrides=given,
        prices=prices,
        limit=limit,
        retry_failed=retry_failed,
        skip_bad_rows=skip_bad_rows,
        deadline=deadline,
        detach=detach,
        engine=engine,
        wait=wait,
        format=format,
        json=json,
        quiet=quiet,
        verbose=verbose,
        metrics_file=metrics_file,
        otel=otel,
        on_finish=on_finish,
        on_finish_timeout=on_finish_timeout,
        partition_by=tuple(partition_by or ()),
    )
    return run_night(order)
