"""Opening the ledger's DuckDB file: settings, schema version, migrations."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from pathlib import Path

import duckdb

from llmbatch.errors import StorageError, UsageError

SCHEMA_VERSION = 1
#: name of the statements that lead from version N-1 to N, each run in one transaction with its version mark
MIGRATIONS = {1: "schema_1"}


@cache
def statements() -> dict[str, str]:
    """The SQL of ledger.sql by name."""
    text = (files("llmbatch.ledger") / "ledger.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+)$", text, flags=re.M)
    return {name: sql.strip() for name, sql in zip(parts[1::2], parts[2::2], strict=True)}


def connect(path: Path, *, memory_limit: str = "192MB") -> duckdb.DuckDBPyConnection:
    """Open (or make) the ledger and bring it to this version's schema.

    Raises StorageError when the file is not a ledger or is damaged, UsageError when a newer llmbatch wrote it.
    """
    con = None
    try:
        con = duckdb.connect(
            str(path),
            config={
                "memory_limit": memory_limit,
                "threads": 2,
                "temp_directory": f"{path}.spill",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
            },
        )
        # SQL never comes from outside; this closes the door all the same.
        con.execute("set enable_external_access = false")
        con.execute("set lock_configuration = true")
        _migrate(con, path)
    except duckdb.Error as error:
        if con is not None:
            con.close()
        raise StorageError(
            f"cannot open the ledger {path}: {_first_line(error)}",
            hint="if it is no llmbatch ledger, name another file with --ledger; nothing was changed",
        ) from error
    path.chmod(0o600)  # by name: opening and closing the file ourselves would drop DuckDB's lock on it
    return con


def _migrate(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    version = _version(con, path)
    if version > SCHEMA_VERSION:
        con.close()
        raise UsageError(
            f"the ledger {path} has schema version {version}; this llmbatch knows {SCHEMA_VERSION}",
            hint="upgrade llmbatch, or name another file with --ledger",
        )
    for number in range(version + 1, SCHEMA_VERSION + 1):
        con.execute("begin")
        con.execute(statements()[MIGRATIONS[number]])
        con.execute("commit")


def _version(con: duckdb.DuckDBPyConnection, path: Path) -> int:
    tables = {name for (name,) in con.execute("select table_name from duckdb_tables()").fetchall()}
    if not tables:
        return 0
    if not {"meta", "attempts", "runs"} <= tables:
        con.close()
        raise StorageError(
            f"{path} is a DuckDB file, but not an llmbatch ledger; it was not changed",
            hint="name another file with --ledger",
        )
    row = con.execute(statements()["schema_version"]).fetchone()
    return int(row[0]) if row else 0


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
