"""Rows into a queue: checked as a run checks them, then sent, a few at a time."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import typer

from llmbatch.cli.gate import note, shown
from llmbatch.cli.make import usable
from llmbatch.errors import Exit, StorageError
from llmbatch.intake import Address, Broker, Queues, open_broker
from llmbatch.scrub import fault_in_words
from llmbatch.settings import InputSettings
from llmbatch.sink import added_columns
from llmbatch.sink.lines import line_of
from llmbatch.source import Source, check_row, open_source, survey

_BATCH = 500  #: messages sent at once
_BATCH_BYTES = 8 * 2**20
_TRIES = 3  #: connections made for one batch


def enter(
    pipeline: Path,
    inputs: tuple[str, ...],
    address: Address,
    queues: Queues,
    *,
    overrides: tuple[str, ...],
    create: bool,
    skip_bad: bool,
    limit: int | None,
    quiet: bool,
) -> int:
    """Put every row in; returns the exit status."""
    loaded, _ = usable(pipeline, overrides)
    settings = loaded.settings
    taken = added_columns(loaded.schema, settings.output.prefix)
    with TemporaryDirectory() as spool, open_source(inputs, Path(spool)) as source:
        survey(source, settings.input, taken=taken, skip_bad=skip_bad)
        broker = open_broker(address, queues, lease_s=60.0, create=create)
        entering = _Entering(broker, address)
        entering.connect()
        try:
            for batch in _batches(_bodies(source, settings.input, skip_bad, limit)):
                entering.send(batch)
        finally:
            broker.close()
    if not quiet:
        typer.echo(shown(f"{entering.sent:,} rows are in the queue {queues.rows} at {address.shown}"))
    return Exit.OK


class _Entering:
    """Sends batches, each whole or not at all where the broker can, and connects anew when the connection is lost."""

    def __init__(self, broker: Broker, address: Address) -> None:
        self.sent = 0
        self._broker, self._address = broker, address
        self._token = secrets.token_hex(6)

    def connect(self) -> None:
        try:
            self._broker.connect()
        except self._broker.faults as fault:
            raise self._away(fault) from None

    def send(self, bodies: list[bytes]) -> None:
        batch = [(f"{self._token}-{self.sent + i}", body) for i, body in enumerate(bodies)]
        for tried in range(_TRIES):
            try:
                if tried:
                    self._broker.connect()
                self._broker.send(batch)
            except self._broker.faults as fault:
                if tried == _TRIES - 1:
                    raise self._away(fault) from None
                note(f"the connection to the broker is lost, once more: {type(fault).__name__}")
            else:
                self.sent += len(batch)
                return

    def _away(self, fault: BaseException) -> StorageError:
        return StorageError(
            f"the broker at {self._address.shown} does not answer: {fault_in_words(fault)}",
            hint=f"{self.sent:,} rows are in the queue"
            + (", and perhaps some of the next; what is answered twice is paid once" if self.sent else ""),
        )


def _bodies(source: Source, settings: InputSettings, skip_bad: bool, limit: int | None) -> Iterator[bytes]:
    rows = (row for row in source.rows(skip_bad=skip_bad) if check_row(row, settings) is None)
    for row in islice(rows, limit):
        yield line_of(row.columns)[:-1]


def _batches(bodies: Iterator[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for body in bodies:
        batch.append(body)
        size += len(body)
        if len(batch) == _BATCH or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
