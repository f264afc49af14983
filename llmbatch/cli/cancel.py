"""llmbatch cancel: ends provider batches that are open, and says what will still be billed."""

from __future__ import annotations

from contextlib import closing
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from llmbatch.cli import flags
from llmbatch.cli.gate import dumped, shown
from llmbatch.cli.places import ledger_file, status_file
from llmbatch.errors import Decision, ProviderDown, UsageError

if TYPE_CHECKING:
    from llmbatch.ledger import OpenBatch
    from llmbatch.providers.batches import BatchDesk, RemoteBatch

EXIT_STATUS = """EXIT STATUS

0 cancelled, or there was nothing to cancel
1 fault in llmbatch
2 mistake in usage, or there is no ledger
6 provider refused or unreachable
74 the ledger cannot be read
75 a run holds the ledger: interrupt it first"""


class Cancelled(NamedTuple):
    """What became of one batch."""

    batch: OpenBatch
    remote: RemoteBatch | None  #: None when it is not known to be created, or is gone

    @property
    def done(self) -> int:
        """Its requests that were done when it was cancelled; they are billed."""
        return self.remote.completed if self.remote else 0

    @property
    def billed_usd(self) -> Decimal | None:
        """What those can cost at most; None when no bound or price is known."""
        if self.batch.worst_usd is None or not self.batch.worst_usd:
            return None
        return self.batch.worst_usd * self.done / self.batch.requests


def cancel(
    pipeline: flags.PipelineFolder,
    ledger: flags.LedgerFile = None,
    base_url: Annotated[str | None, typer.Option(metavar="URL", help="The server that the run used.")] = None,
    set_: flags.Set = None,
    json: flags.Json = False,
) -> None:
    """Cancel the provider batches of a pipeline. What they had done is billed, and the next run fetches it."""
    import uvloop

    from llmbatch.cli.make import usable
    from llmbatch.ledger import Lock, batches, connect
    from llmbatch.progress import correct_batches

    overrides = flags.overrides(set_, base_url=base_url)
    loaded, _ = usable(pipeline, overrides)
    path = ledger or ledger_file(pipeline)
    if not path.exists():
        raise UsageError(f"there is no ledger at {path}", hint="run the pipeline first, or name the file with --ledger")
    with Lock(path):
        with closing(connect(path)) as con:
            open_batches = batches.open_batches(con)
        ended = uvloop.run(_cancel(loaded.settings, open_batches)) if open_batches else []
        correct_batches(status_file(path), {one.remote.id: _seen(one.remote) for one in ended if one.remote})
    typer.echo(dumped([_facts(one) for one in ended]) if json else shown("\n".join(_told(ended))))


async def _cancel(settings: Any, open_batches: list[OpenBatch]) -> list[Cancelled]:
    """Ask for the end of each. Raises ProviderDown."""
    from llmbatch.providers.batches import BatchDesk

    desk = BatchDesk(settings.provider, note=lambda _: None)
    try:
        return [Cancelled(batch, await _end(desk, batch)) for batch in open_batches]
    except Decision as error:
        raise ProviderDown(f"the provider: {error.message}", hint="try it again; batches go on until then") from None
    finally:
        await desk.close()


async def _end(desk: BatchDesk, batch: OpenBatch) -> RemoteBatch | None:
    if batch.batch_id is None:
        found = [remote async for remote in desk.batches() if remote.intent == batch.intent]
        batch_id = found[0].id if found else None
    else:
        batch_id = batch.batch_id
    if batch_id is None:
        return None
    await desk.cancel(batch_id)
    return await desk.batch(batch_id)


def _seen(remote: RemoteBatch) -> dict[str, Any]:
    return {"status": remote.status, "completed": remote.completed, "failed": remote.failed}


def _facts(one: Cancelled) -> dict[str, Any]:
    usd = one.billed_usd
    return {
        "intent": one.batch.intent,
        "batch": one.remote.id if one.remote else None,
        "status": one.remote.status if one.remote else None,
        "requests": one.batch.requests,
        "done": one.done,
        "billed_at_most_usd": None if usd is None else float(usd),
    }


def _told(ended: list[Cancelled]) -> list[str]:
    if not ended:
        return ["no batches are open"]
    lines = []
    for one in ended:
        if one.remote is None:
            lines.append(f"{one.batch.intent}: not known at the provider; the next run finds out what became of it")
            continue
        usd = one.billed_usd
        most = "" if usd is None else f", ${usd:.4f} at most"
        lines.append(
            f"{one.remote.id}: {one.remote.status}, {one.done:,} of {one.batch.requests:,} requests are done"
            f" and will be billed{most}"
        )
    return [*lines, "the same `llmbatch run` fetches what they brought; requests under way may still be added to it"]
