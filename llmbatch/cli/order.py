"""What a person ordered with `llmbatch run`, with the paths and times worked out."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from llmbatch.cli.places import ledger_file
from llmbatch.errors import UsageError
from llmbatch.scrub import hide_values
from llmbatch.stores import as_url

_DURATION = re.compile(r"(?:in\s+)?(\d+(?:\.\d+)?)\s*([smhd]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Order:
    """The flags of one `llmbatch run`."""

    pipeline: Path
    inputs: tuple[str, ...]
    output: Path | None = None
    ledger: Path | None = None
    overrides: tuple[str, ...] = ()
    prices: Path | None = None
    limit: int | None = None
    retry_failed: str | None = None
    skip_bad_rows: bool = False
    deadline: str | None = None
    detach: bool = False
    engine: Literal["live", "ray"] = "live"
    wait: str | None = None
    format: Literal["jsonl", "parquet"] | None = None
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    metrics_file: Path | None = None
    otel: bool = False
    on_finish: str | None = None
    on_finish_timeout: str = "60s"
    partition_by: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The pipeline's name: its folder's."""
        return self.pipeline.resolve().name

    @property
    def output_folder(self) -> Path:
        """Where results and reports go; those for an object store on their way there."""
        if self.store is not None:
            return self.ledger_file.with_suffix(".out")
        return self.output or Path("results") / self.name

    @property
    def store(self) -> str | None:
        """The address in an object store that results and reports go to."""
        return None if self.output is None else as_url(self.output)

    @property
    def shown_inputs(self) -> tuple[str, ...]:
        """As given, without the signatures of addresses."""
        return tuple(map(hide_values, self.inputs))

    @property
    def ledger_file(self) -> Path:
        """Where progress is kept."""
        return self.ledger or ledger_file(self.pipeline)

    @property
    def retry_classes(self) -> frozenset[str] | None:
        """Classes of failed rows to ask again; empty means all, None means none."""
        if self.retry_failed is None:
            return None
        return frozenset() if self.retry_failed == "all" else frozenset(self.retry_failed.split(","))

    @property
    def wait_s(self) -> float:
        """How long to wait for another run to end."""
        if self.wait is None:
            return 0.0
        return float("inf") if self.wait == "forever" else seconds(self.wait, "--wait")


def command() -> tuple[str, ...]:
    """The command as it was typed, without the values of secrets: it is stored and shown."""
    return ("llmbatch", *map(hide_values, sys.argv[1:]))


def how_to_go_on() -> str:
    """What a person does after a run that stopped; its last line is the command, to paste."""
    return f"to go on, type the same command again; what is stored is not paid for again:\n  {shlex.join(command())}"


def is_duration(text: str) -> bool:
    """Whether it is a span from now on, and no moment."""
    return _DURATION.fullmatch(text.strip()) is not None


def seconds(text: str, flag: str) -> float:
    """A duration such as 90, 90s, 15m, 8h or 2d in seconds. Raises UsageError."""
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise UsageError(f"{flag} {text!r} is no duration", hint="write 90s, 15m, 8h or 2d")
    return float(match[1]) * _UNITS[match[2]]


def until(text: str, now: datetime) -> float:
    """Seconds from ``now`` (local time) to a deadline: 06:00, 2026-11-24 06:00 or a duration. Raises UsageError."""
    if clock := re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text.strip()):
        then = now.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
        if then <= now:
            then += timedelta(days=1)
        return then.timestamp() - now.timestamp()
    try:
        day = datetime.fromisoformat(text.strip())
    except ValueError:
        return seconds(text, "--deadline")
    left = day.timestamp() - now.timestamp()
    if left <= 0:
        raise UsageError(f"--deadline {text!r} has passed")
    return left
