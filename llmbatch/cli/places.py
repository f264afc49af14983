"""Where a command reads and writes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol

from llmbatch.errors import UsageError


class Places(Protocol):
    """Where a command writes."""

    @property
    def output_folder(self) -> Path:
        """Results and reports."""

    @property
    def ledger_file(self) -> Path:
        """Progress."""


def refuse_paths(places: Places) -> None:
    """Raise UsageError, before the run and not after it, when what is written would end elsewhere.

    That is: over somebody else's link, or where DuckDB takes a ledger's name for an address (``md:x``) or a query.
    """
    from llmbatch.atomic import foreign_link

    for path in (places.output_folder, places.ledger_file):
        if (link := foreign_link(path)) is not None:
            raise UsageError(f"{link} is a link that belongs to another user", hint="remove it, or write elsewhere")
    if re.match(r"[\w+.-]*:", str(places.ledger_file)) or "?" in str(places.ledger_file):
        raise UsageError(f"--ledger {places.ledger_file}: DuckDB takes no such file name", hint="leave out : and ?")


def ledger_file(pipeline: Path) -> Path:
    """The ledger of a pipeline unless --ledger names another."""
    return Path(".llmbatch") / f"{pipeline.resolve().name}.duckdb"


def status_file(ledger: Path) -> Path:
    """Where a run says how far it is."""
    return ledger.with_suffix(".status.json")
