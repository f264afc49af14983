"""The status file: what `llmbatch status` shows of a run while it runs, from another terminal."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from llmbatch.atomic import write_bytes
from llmbatch.errors import StorageError
from llmbatch.progress.gauges import Gauges
from llmbatch.progress.meter import Meter
from llmbatch.progress.snapshot import to_json
from llmbatch.progress.ticker import Ticker
from llmbatch.tally import Tally

_PERIOD_S = 1.0


class StatusFile:
    """Replaces a small JSON file once a second while entered, and once more at the end.

    Keys: ``run_id, pid, host, pipeline, started_at, updated_at, state, exit_code`` and those of
    :func:`llmbatch.progress.snapshot.to_json`. ``state`` is ``running``, then ``ending`` while results and reports are
    written, then what :meth:`end` was told; ``exit_code`` is null until then.
    """

    def __init__(self, path: Path, tally: Tally, gauges: Gauges, run_id: str, pipeline: str) -> None:
        self._path, self._meter = path, Meter(tally, gauges)
        self._state: str = "running"
        self._exit_code: int | None = None
        self._run = {
            "run_id": run_id,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "pipeline": pipeline,
            "started_at": _now(),
        }
        self._ticker = Ticker(_PERIOD_S, self._write)

    def __enter__(self) -> Self:
        self._write()
        self._ticker.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ticker.__exit__(kind, error, trace)
        self.end("ending")

    def end(self, state: str, exit_code: int | None = None) -> None:
        """Write how the run ended; after the block."""
        self._state, self._exit_code = state, exit_code
        self._write()

    def _write(self) -> None:
        state = {"updated_at": _now(), "state": self._state, "exit_code": self._exit_code}
        facts = self._run | state | to_json(self._meter.snapshot())
        # a full disk is the ledger's to report; a run does not end because nobody can watch it
        with contextlib.suppress(StorageError):
            write_bytes(self._path, orjson.dumps(facts, option=orjson.OPT_INDENT_2))


def read_status(path: Path) -> dict[str, Any] | None:
    """What the status file says; None when there is none.

    Adds ``alive``: whether its process still runs (None when it ran on another host), and ``age_s``: seconds since
    the last update. Raises StorageError when the file cannot be read or is no status file.
    """
    try:
        facts: dict[str, Any] = orjson.loads(path.read_bytes())
        return facts | {"alive": _alive(facts["host"], facts["pid"]), "age_s": time.time() - path.stat().st_mtime}
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}", hint="check its permissions") from error
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise StorageError(f"{path}: is no status file", hint="remove it; the next run writes a new one") from error


def correct_batches(path: Path, seen: Mapping[str, Mapping[str, Any]]) -> None:
    """Put what was ``seen`` of batches, by their id, into the status of a run that has ended, if that can be done."""
    with contextlib.suppress(StorageError):
        facts = read_status(path) or {}
        for batch in facts.get("batches", ()):
            batch.update(seen.get(batch["id"], {}))
        kept = {name: value for name, value in facts.items() if name not in ("alive", "age_s")}
        if kept:
            write_bytes(path, orjson.dumps(kept | {"updated_at": _now()}, option=orjson.OPT_INDENT_2))


def _alive(host: str, pid: int) -> bool | None:
    if host != socket.gethostname():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
