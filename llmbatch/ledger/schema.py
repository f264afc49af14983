"""Opening the ledger's DuckDB file: settings, what is missing, schema version, migrations."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import duckdb

from llmbatch.errors import LedgerLocked, StorageError, UsageError
from llmbatch.ledger.faults import first_line, storage_error
from llmbatch.ledger.files import put_in_place, rebuilt, remove_leftovers
from llmbatch.ledger.sequence import recorded, sequence
from llmbatch.ledger.statements import statements

SCHEMA_VERSION = 4
#: name of the statements that lead from version N-1 to N, each run in one transaction; they end with their version mark
MIGRATIONS = {1: "schema_1", 2: "schema_2", 3: "schema_3", 4: "schema_4"}

#: Rows in a row group. A checkpoint rewrites the last one of each table: at DuckDB's 122,880 it took a commit 0.3 s
#: beside prompts and replies of 1 kB, and 2 s and 800 MB beside some of 1 MB. The file does not keep it.
_ROW_GROUP = 2_048
#: Bytes of log after which a commit checkpoints; fewer make it shorter.
_CHECKPOINT = "4MB"

#: DuckDB fills it with blocks that it has read, however few are needed: at 192MB a million stored rows took 337 MB of a
#: run's memory, at 64MB 216. Sorts and joins that need more go to the spill folder.
_MEMORY = "64MB"
_NAME = "ledger"  #: of the database, within a connection
_TABLES = {"meta", "attempts", "runs"}  #: by these a DuckDB file is known to be a ledger, of whatever version


def connect(path: Path, *, memory_limit: str = _MEMORY) -> duckdb.DuckDBPyConnection:
    """Open (or make) the ledger and bring it to this version's schema.

    Raises StorageError when the file is not a ledger, is damaged or lacks attempts that were stored, UsageError when a
    newer llmbatch wrote it, LedgerLocked when another program has it open. Then the files are as they were.
    """
    record = recorded(path)
    if not path.exists():
        if record:
            raise missing(path, record)
        _create(path)
    con = open_file(path, memory_limit=memory_limit)
    try:
        con.execute("pragma disable_checkpoint_on_shutdown")  # closing a file that is refused must not change it
        migrate(con, path, record)
        con.execute("pragma enable_checkpoint_on_shutdown")
        # SQL never comes from outside; this closes the door all the same.
        con.execute("set enable_external_access = false")
        con.execute("set lock_configuration = true")
    except duckdb.Error as error:
        con.close()
        raise _unusable(path, error) from error
    except BaseException:
        con.close()
        raise
    path.chmod(0o600)  # by name: opening and closing the file ourselves would drop DuckDB's lock on it
    return con


def open_file(path: Path, *, read_only: bool = False, memory_limit: str = _MEMORY) -> duckdb.DuckDBPyConnection:
    """The database as it is, unchecked. Raises StorageError, or LedgerLocked when another program has it open."""
    try:
        con = duckdb.connect(
            config={
                "memory_limit": memory_limit,
                "threads": 1,  # a second one takes the loop's core: 13 % more CPU for a million rows, no less time
                "temp_directory": f"{path}.spill",
                "checkpoint_threshold": _CHECKPOINT,
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
            },
        )
    except duckdb.Error as error:
        raise _unusable(path, error) from error
    try:
        mode = "read_only" if read_only else f"row_group_size {_ROW_GROUP}"
        con.execute(f"attach {quoted(path)} as {_NAME} ({mode})")
        con.execute(f"use {_NAME}")
    except duckdb.Error as error:
        con.close()
        raise _unusable(path, error) from error
    return con


def second_connection(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """A second connection to an open ledger, for another thread: DuckDB refuses two calls at once on one of them."""
    second = con.cursor()
    second.execute(f"use {_NAME}")
    return second


def quoted(path: Path) -> str:
    """A path as SQL text."""
    return "'" + str(path).replace("'", "''") + "'"


def scratch(spill: Path) -> duckdb.DuckDBPyConnection:
    """An empty ledger in memory; what it does not hold is in the folder ``spill`` meanwhile."""
    con = duckdb.connect(":memory:", config={"memory_limit": "192MB", "threads": 2, "temp_directory": str(spill)})
    con.execute(statements()["schema_1"])
    for number in range(2, SCHEMA_VERSION + 1):
        con.execute(statements()[MIGRATIONS[number]])
    return con


def _create(path: Path) -> None:
    """Make an empty ledger, whole or not at all: half a header would be refused by every later run."""
    try:
        remove_leftovers(path)
        with closing(open_file(rebuilt(path))) as con:
            migrate(con, path)
            con.execute("checkpoint")
        put_in_place(path)
    except (duckdb.Error, OSError) as error:
        raise storage_error(f"cannot make the ledger {path}", error) from error
    finally:
        remove_leftovers(path)


def migrate(con: duckdb.DuckDBPyConnection, path: Path, record: int | None = None) -> None:
    """Bring the database to this version, one transaction a version, unless attempts up to ``record`` are missing.

    What is missing is asked first: a log that lost its beginning leaves a database without tables, which would
    otherwise be taken for a new ledger.
    """
    version = version_of(con, path)
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"the ledger {path} has schema version {version}; this llmbatch knows {SCHEMA_VERSION}",
            hint="upgrade llmbatch, or name another file with --ledger",
        )
    lost = sequence(con, record).missing if version else record
    if lost:
        raise missing(path, lost)
    for number in range(version + 1, SCHEMA_VERSION + 1):
        con.execute("begin")
        con.execute(statements()[MIGRATIONS[number]])
        con.execute("commit")


def version_of(con: duckdb.DuckDBPyConnection, path: Path) -> int:
    """The schema's version; 0 in a database without tables. Raises StorageError when it is not a ledger's."""
    tables = {name for (name,) in con.execute("select table_name from duckdb_tables()").fetchall()}
    if not tables:
        return 0
    if not tables >= _TABLES:
        raise StorageError(
            f"{path} is a DuckDB file, but not an llmbatch ledger; it was not changed",
            hint="name another file with --ledger",
        )
    row = con.execute(statements()["schema_version"]).fetchone()
    assert row is not None
    return int(row[0])


def missing(path: Path, count: int) -> StorageError:
    """Attempts were stored and are not there."""
    where = "" if path.exists() else ", which is gone"
    return StorageError(
        f"{count:,} stored attempts are missing from the ledger {path}{where}",
        hint=f"`llmbatch doctor PIPELINE --ledger {path}` says what happened and how to go on; nothing was sent",
    )


def _unusable(path: Path, error: duckdb.Error) -> LedgerLocked | StorageError:
    words = first_line(error)
    if "Could not set lock" in words:
        pid = re.search(r"PID \d+", words)
        return LedgerLocked(
            f"another process has the ledger open: {pid[0] if pid else words}",
            hint="wait until it has ended; `llmbatch status` works meanwhile",
        )
    if "Could not write" in words or "No space left" in words:
        return storage_error(f"cannot open the ledger {path}", error)
    if "WAL" in words:
        hint = f"`llmbatch doctor PIPELINE --ledger {path}` says what happened and how to go on; nothing was changed"
    else:
        hint = "if it is no llmbatch ledger, name another file with --ledger; nothing was changed"
    return StorageError(f"cannot open the ledger {path}: {words}", hint=hint)
