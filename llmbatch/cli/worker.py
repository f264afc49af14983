"""llmbatch worker and llmbatch enqueue: rows by way of a queue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmbatch.cli import flags

if TYPE_CHECKING:
    from llmbatch.intake.address import Address

WORKER_EXIT_STATUS = """EXIT STATUS

0 drained: told to stop by a signal, or the queue stayed empty (--stop-when-empty)
1 fault in llmbatch
2 mistake in usage or pipeline, or the broker refuses; nothing sent
4 budget reached; what was not answered is in the queue
6 provider refused or unreachable; what was not answered is in the queue
74 storage failed; what was not answered is in the queue
75 another worker or run holds the ledger"""
ENQUEUE_EXIT_STATUS = """EXIT STATUS

0 every row is in the queue
1 fault in llmbatch
2 mistake in usage, pipeline or input, or the broker refuses; nothing was put in
74 the broker went away; the message says how many rows are in the queue"""

_BROKER = "The queue"

BrokerUrl = Annotated[
    str,
    typer.Option(
        metavar="URL",
        envvar="LLMBATCH_BROKER",
        show_envvar=False,
        help="amqp(s)://, redis(s)://, sqs://REGION or memory://; better in LLMBATCH_BROKER if it holds a password. "
        "Needs the extra llmbatch\\[queue].",
        rich_help_panel=_BROKER,
    ),
]
QueueName = Annotated[
    str | None, typer.Option(metavar="NAME", help="Of the rows. \\[PIPELINE]", rich_help_panel=_BROKER)
]
DeadName = Annotated[
    str | None, typer.Option(metavar="NAME", help="Of dead letters. \\[QUEUE-dead]", rich_help_panel=_BROKER)
]
Create = Annotated[bool, typer.Option("--create", help="Make queues that are missing.", rich_help_panel=_BROKER)]


def worker(
    pipeline: flags.PipelineFolder,
    broker: BrokerUrl,
    queue: QueueName = None,
    dead: DeadName = None,
    create: Create = False,
    max_deliveries: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="A message delivered more often is a dead letter.", rich_help_panel=_BROKER
        ),
    ] = 5,
    lease: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="SQS, Redis: how long after a worker's death others get its messages.",
            rich_help_panel=_BROKER,
        ),
    ] = "60s",
    replies: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Results go to this queue, not into files.", rich_help_panel=flags.OUTPUT),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder of results and reports. \\[results/PIPELINE-worker]",
            rich_help_panel=flags.OUTPUT,
        ),
    ] = None,
    roll_after: Annotated[
        str, typer.Option(metavar="TIME", help="A new results file after so long.", rich_help_panel=flags.OUTPUT)
    ] = "10m",
    roll_mb: Annotated[
        int, typer.Option(min=1, metavar="MB", help="... or when it is so large.", rich_help_panel=flags.OUTPUT)
    ] = 256,
    ledger: Annotated[
        Path | None,
        typer.Option(
            "--ledger",
            metavar="FILE",
            help="The DuckDB file of progress; a worker has one of its own. \\[.llmbatch/PIPELINE-worker.duckdb]",
            rich_help_panel=flags.OUTPUT,
        ),
    ] = None,
    provider: flags.Provider = None,
    model: flags.Model = None,
    base_url: flags.BaseUrl = None,
    allow_insecure: flags.AllowInsecure = False,
    concurrency: flags.Concurrency = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="USD", help="Spend at most this much a day (UTC).", rich_help_panel=flags.STOPPING),
    ] = None,
    prices: flags.Prices = None,
    stop_when_empty: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Stop when no message came for so long.", rich_help_panel=flags.STOPPING),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Stop after N messages.", rich_help_panel=flags.STOPPING)
    ] = None,
    set_: flags.Set = None,
    json: flags.ReportAsJson = False,
    quiet: flags.Quiet = False,
) -> int:
    """Answer rows from a queue, until told to stop.

    A message is acknowledged when its reply is in the ledger and its result is handed on.
    """
    from llmbatch.cli.order import seconds
    from llmbatch.cli.shift import Shift, work

    return work(
        Shift(
            pipeline=pipeline,
            address=_address(broker, allow_insecure),
            queue=queue,
            dead=dead,
            replies=replies,
            create=create,
            max_deliveries=max_deliveries,
            lease_s=seconds(lease, "--lease"),
            output=output,
            roll_s=seconds(roll_after, "--roll-after"),
            roll_bytes=roll_mb * 2**20,
            ledger=ledger,
            overrides=flags.overrides(
                set_,
                provider=provider,
                model=model,
                base_url=base_url,
                allow_insecure=allow_insecure,
                concurrency=concurrency,
                budget=budget,
            ),
            prices=prices,
            idle_s=None if stop_when_empty is None else seconds(stop_when_empty, "--stop-when-empty"),
            limit=limit,
            json=json,
            quiet=quiet,
        )
    )


def enqueue(
    pipeline: flags.PipelineFolder,
    input: flags.InputFiles,
    broker: BrokerUrl,
    queue: QueueName = None,
    dead: DeadName = None,
    create: Create = False,
    allow_insecure: flags.AllowInsecure = False,
    skip_bad_rows: Annotated[
        bool,
        typer.Option("--skip-bad-rows", help="Leave broken rows out, and rows without id or required columns."),
    ] = False,
    limit: flags.Limit = None,
    set_: flags.Set = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing of what went well.")] = False,
) -> int:
    """Put the rows of a file into a queue, a message each. The whole file is checked first."""
    from llmbatch.cli.entering import enter
    from llmbatch.intake.message import Queues

    name = queue or pipeline.resolve().name
    return enter(
        pipeline,
        tuple(input),
        _address(broker, allow_insecure),
        Queues(name, dead or f"{name}-dead"),
        overrides=tuple(set_ or ()),
        create=create,
        skip_bad=skip_bad_rows,
        limit=limit,
        quiet=quiet,
    )


def _address(broker: str, allow_insecure: bool) -> Address:
    from llmbatch.intake.address import address_of

    return address_of(broker, allow_insecure=allow_insecure)
