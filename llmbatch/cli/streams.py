"""Standard output and standard error, whose reader may go before the run ends."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_GONE = {errno.EPIPE, errno.EIO, errno.ENXIO}  #: a closed pipe, a closed terminal


class _Descriptor(io.FileIO):
    """Drops what nobody is there to read."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            return memoryview(data).nbytes


def outlive_readers() -> None:
    """Let both streams be written to whatever becomes of their readers.

    A run neither ends nor ends otherwise because of ``| head``, a closed terminal or ``2>&-``.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            _fill(number)
        if stream is None or isinstance(stream, io.TextIOWrapper):
            setattr(sys, name, _outliving(number, stream))


def _fill(number: int) -> None:
    """Open a closed descriptor; else the next file to be opened gets its number, and every word with it."""
    null = os.open(os.devnull, os.O_WRONLY)
    if null != number:
        os.dup2(null, number)
        os.close(null)


def _outliving(number: int, stream: io.TextIOWrapper | None) -> TextIO:
    buffer = io.BufferedWriter(cast("io.RawIOBase", _Descriptor(number, "w", closefd=False)))
    if stream is None:
        return io.TextIOWrapper(buffer)
    stream.flush()
    return io.TextIOWrapper(
        buffer, encoding=stream.encoding, errors=stream.errors, line_buffering=stream.line_buffering
    )
