"""llmbatch plan: what a run would do and cost."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from llmbatch.cli import flags

EXIT_STATUS = """EXIT STATUS

0 the plan is printed
1 fault in llmbatch
2 mistake in usage, pipeline or input, nothing sent
74 storage failed
75 a run holds the ledger
129, 130, 143 interrupted
3, 4, 5, 6 of --probe, as of a run"""


def plan(
    pipeline: flags.PipelineFolder,
    input: flags.InputFiles,
    ledger: flags.LedgerFile = None,
    probe: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Ask N random new rows first: costs money, and is stored for the run."),
    ] = None,
    provider: flags.Provider = None,
    model: flags.Model = None,
    base_url: flags.BaseUrl = None,
    tier: Annotated[Literal["standard", "flex", "batch", "auto"] | None, typer.Option(help="As of run.")] = None,
    deadline: Annotated[str | None, typer.Option(metavar="TIME", help="With --tier auto: how it would be met.")] = None,
    limit: flags.Limit = None,
    retry_failed: flags.RetryFailed = None,
    skip_bad_rows: flags.SkipBadRows = False,
    budget: Annotated[
        str | None, typer.Option(metavar="USD", help="Say whether it is enough; a probe keeps to it.")
    ] = None,
    prices: flags.Prices = None,
    set_: flags.Set = None,
    json: flags.Json = False,
) -> int:
    """What a run would reuse, ask and cost. Sends nothing without --probe."""
    from llmbatch.cli.order import Order
    from llmbatch.cli.outlook import look_ahead
    from llmbatch.cli.places import refuse_paths

    order = Order(
        pipeline=pipeline,
        inputs=tuple(input),
        ledger=ledger,
        overrides=flags.overrides(set_, provider=provider, model=model, base_url=base_url, tier=tier, budget=budget),
        prices=prices,
        limit=limit,
        retry_failed=retry_failed,
        skip_bad_rows=skip_bad_rows,
        deadline=deadline,
        json=json,
    )
    refuse_paths(order)
    return look_ahead(order, probe)
