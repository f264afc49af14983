"""The ledger: one thread owns DuckDB, everybody else awaits it.

Writes are grouped: a commit happens at most ``WINDOW_S`` after its first attempt arrived, or at once when a read
waits. An attempt is durable when ``record`` returns. Outcomes ride along; they can be computed again from replies.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import duckdb

from llmbatch.ledger import writer
from llmbatch.ledger.faults import storage_error
from llmbatch.ledger.schema import connect
from llmbatch.ledger.sequence import SequenceRecord, sequence
from llmbatch.types import Attempt, Outcome, Request

T = TypeVar("T")

WINDOW_S = 0.025  #: the longest a reply waits for company before its commit begins; the promise is 0.1
_BATCH = 500  #: attempts a commit: about 9 ms
_CHARS = 4 * 2**20  #: of prompts and replies a commit: about 60 ms
_OUTCOMES = 2_000  #: outcomes that are held back for company at most
_RESUMED = 16  #: calls that go on in one turn of the loop: what follows a commit for each takes some 0.4 ms
_HANDED_OVER = 250  #: outcomes handed to the ledger's thread at once, to wake it less often
_OUTCOMES_S = 1.0  #: and for how long; nobody waits for them, and they can be computed again


@dataclass(slots=True)
class _Write:
    recorded: writer.Recorded
    done: asyncio.Future[int]


@dataclass(slots=True)
class _Call:
    """Something to run in the ledger's thread between commits."""

    fn: Callable[[Any], Any]
    done: asyncio.Future[Any]


class _Close:
    """The last message."""


_Message: TypeAlias = _Write | list[tuple[int, Outcome]] | _Call | _Close


@dataclass(slots=True)
class _Group:
    """What one commit takes, and the message that ended the gathering, if one did."""

    outcomes: list[tuple[int, Outcome]]  #: may be held back, so it lives longer than the group
    writes: list[_Write] = field(default_factory=list)
    chars: int = 0
    ended_by: _Call | _Close | None = None

    def take(self, message: _Message) -> bool:
        """Add a message; False when the group is complete."""
        match message:
            case _Write():
                self.writes.append(message)
                self.chars += message.recorded.size
            case list():
                self.outcomes += message
            case _:
                self.ended_by = message
                return False
        return len(self.writes) < _BATCH and self.chars < _CHARS and len(self.outcomes) < _OUTCOMES


class Ledger:
    """The one owner of the pipeline's DuckDB file. Use within one event loop; open by ``await Ledger.open(path)``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._loop = asyncio.get_running_loop()
        self._inbox: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        self._settled: list[tuple[int, Outcome]] = []  # the loop's: not handed over yet
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._serve, name="ledger", daemon=True)
        self._seq = 0  # the thread's: last committed attempt
        self._outcomes: list[tuple[int, Outcome]] = []  # the thread's: not written yet
        self._outcomes_at = 0.0
        self._broken: Exception | None = None

    @classmethod
    async def open(cls, path: Path) -> Ledger:
        """Open or make the file. Raises StorageError or UsageError (see schema.connect)."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        ledger = cls(path)
        ledger._thread.start()
        await ledger._ready
        return ledger

    async def close(self) -> None:
        """Commit what is queued and close the file."""
        self._hand_over()
        self._inbox.put(_Close())
        await asyncio.to_thread(self._thread.join)
        if self._broken:
            raise self._broken

    async def record(
        self, run_no: int, attempt: Attempt, request: Request | None, prompt_version: str, intent: str | None = None
    ) -> int:
        """Store an attempt; returns its ``seq`` once it is durable. Raises StorageError.

        With ``intent`` it is known, in the same commit, that this line of that batch is dealt with.
        """
        done: asyncio.Future[int] = self._loop.create_future()
        self._inbox.put(_Write(writer.Recorded(run_no, attempt, request, prompt_version, intent), done))
        return await done

    def settle(self, run_no: int, outcome: Outcome) -> None:
        """Store an outcome with one of the next commits."""
        self._settled.append((run_no, outcome))
        if len(self._settled) >= _HANDED_OVER:
            self._hand_over()

    async def ask(self, fn: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Run ``fn(connection)`` in the ledger's thread, after everything queued so far. Raises StorageError."""
        self._hand_over()
        done: asyncio.Future[T] = self._loop.create_future()
        self._inbox.put(_Call(fn, done))
        return await done

    def _hand_over(self) -> None:
        if self._settled:
            self._inbox.put(self._settled)
            self._settled = []

    # --- the ledger's thread -----------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            con = self._open()
        except Exception as error:  # noqa: BLE001 - a thread's faults must reach those who wait for it
            self._post(self._ready.set_exception, self._as_storage_error(error))
            return
        self._post(self._ready.set_result, None)
        while self._turn(con):
            pass
        try:
            con.close()
            self._record.close()
        except Exception as error:  # noqa: BLE001 - as above
            self._broken = self._broken or self._as_storage_error(error)

    def _open(self) -> duckdb.DuckDBPyConnection:
        con = connect(self.path)
        try:
            self._seq = sequence(con, None).last
            self._record = SequenceRecord(self.path, self._seq)
        except BaseException:
            con.close()
            raise
        return con

    def _turn(self, con: duckdb.DuckDBPyConnection) -> bool:
        """Gather one group, commit it, then answer the read that ended it. False when asked to close."""
        group = self._gather()
        if self._outcomes_are_due(group):
            self._commit(con, group.writes, self._outcomes)
            self._outcomes = []
            self._outcomes_at = time.monotonic()
        elif group.writes:
            self._commit(con, group.writes, [])
        if isinstance(group.ended_by, _Call):
            self._answer(con, group.ended_by)
        return not isinstance(group.ended_by, _Close)

    def _gather(self) -> _Group:
        group = _Group(self._outcomes)
        more = group.take(self._inbox.get())
        give_up = time.monotonic() + WINDOW_S
        while more:
            try:
                more = group.take(self._inbox.get(timeout=max(give_up - time.monotonic(), 0)))
            except queue.Empty:
                break
        return group

    def _outcomes_are_due(self, group: _Group) -> bool:
        if not group.outcomes:
            return False
        waited = time.monotonic() - self._outcomes_at
        return group.ended_by is not None or len(group.outcomes) >= _OUTCOMES or waited >= _OUTCOMES_S

    def _commit(
        self, con: duckdb.DuckDBPyConnection, writes: list[_Write], outcomes: list[tuple[int, Outcome]]
    ) -> None:
        first = self._seq + 1
        if self._broken is None:
            try:
                con.execute("begin")
                if writes:
                    writer.insert_attempts(con, first, [w.recorded for w in writes])
                if outcomes:
                    writer.insert_outcomes(con, outcomes)
                con.execute("commit")
                self._seq += len(writes)
                self._record.advance(self._seq)
            except Exception as error:  # noqa: BLE001 - a thread's faults must reach those who wait for it
                self._broken = self._as_storage_error(error)
        self._post(_resolve, writes, first, self._broken)

    def _answer(self, con: duckdb.DuckDBPyConnection, call: _Call) -> None:
        if self._broken is not None:
            self._post(_fail, call.done, self._broken)
            return
        try:
            result = call.fn(con)
        except Exception as error:  # noqa: BLE001 - a thread's faults must reach those who wait for it
            self._post(_fail, call.done, self._as_storage_error(error))
        else:
            self._post(_succeed, call.done, result)

    def _as_storage_error(self, error: Exception) -> Exception:
        """A fault of DuckDB or the disk as StorageError; a fault of ours stays what it is."""
        if not isinstance(error, duckdb.Error | OSError):
            return error
        failure = storage_error(f"the ledger {self.path} could not be written", error)
        failure.__cause__ = error
        return failure

    def _post(self, fn: Callable[..., object], *args: object) -> None:
        self._loop.call_soon_threadsafe(fn, *args)


def _resolve(writes: list[_Write], first_seq: int, error: Exception | None) -> None:
    """Let those who wait go on, a few in each turn of the loop: 256 at once would hold it for 0.1 s."""
    for i, write in enumerate(writes[:_RESUMED]):
        if error is not None:
            _fail(write.done, error)
        else:
            _succeed(write.done, first_seq + i)
    if rest := writes[_RESUMED:]:
        asyncio.get_running_loop().call_soon(_resolve, rest, first_seq + _RESUMED, error)


def _succeed(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
