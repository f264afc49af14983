"""DuckDB tables and Hive-partitioned folders of Parquet as one Parquet file each, which is read like any other."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote

import duckdb

from llmbatch.errors import InputError

MARK = "::"  #: between a DuckDB file and its table
_NULL = "__HIVE_DEFAULT_PARTITION__"  #: Hive's word for null


def is_table(name: str) -> bool:
    """``file.duckdb::table``, and no file of that name."""
    try:
        return MARK in name and not Path(name).exists()
    except OSError:  # no name that a file can have
        return False


def is_partitioned(path: Path) -> bool:
    """A folder with folders ``column=value`` in it."""
    try:
        return path.is_dir() and any(child.is_dir() and "=" in child.name for child in path.iterdir())
    except OSError:  # whoever opens it says why
        return False


def copy_table(name: str, target: Path) -> None:
    """Write a table, or a view, as Parquet, in its own order.

    The database is opened read-only, and may touch no file but itself and the folder of ``target``: a view cannot read
    others. Raises InputError.
    """
    file, _, table = name.rpartition(MARK)
    if not Path(file).is_file():
        raise InputError(f"{file}: no such file", hint="FILE.duckdb::TABLE, or ::SCHEMA.TABLE")
    quoted = ".".join('"' + part.replace('"', '""') + '"' for part in table.split("."))
    folder, path = (str(p).replace("'", "''") for p in (target.parent.resolve(), target.resolve()))
    try:
        with duckdb.connect(
            file, read_only=True, config={"memory_limit": "1GB", "threads": 1, "temp_directory": str(target) + ".spill"}
        ) as con:
            con.execute(f"set allowed_directories = ['{folder}']")
            con.execute("set autoinstall_known_extensions = false")
            con.execute("set autoload_known_extensions = false")
            con.execute("set enable_external_access = false")
            con.execute("set lock_configuration = true")
            con.execute(f"copy (select * from {quoted}) to '{path}' (format parquet, compression zstd)")  # noqa: S608
    except duckdb.Error as error:
        words = str(error).partition("\n")[0][:200]
        raise InputError(
            f"{name}: cannot be read: {words}", hint="is it a table of this file, and nobody writes?"
        ) from None


def copy_partitions(folder: str, files: list[tuple[Path, str]], target: Path) -> None:
    """Write the files of a partitioned folder, each with its place in it, as one, with the folders' columns.

    Their values are text; Hive's word for null is null. Raises InputError.
    """
    import polars as pl

    scans = [
        pl.scan_parquet(path, glob=False, hive_partitioning=False).with_columns(
            pl.lit(value, dtype=pl.String).alias(column) for column, value in _columns(place)
        )
        for path, place in files
    ]
    try:
        pl.concat(scans, how="diagonal_relaxed").sink_parquet(target, compression="zstd", maintain_order=True)
    except (pl.exceptions.PolarsError, OSError) as error:
        words = str(error).partition("\n")[0][:200]
        raise InputError(
            f"{folder}: cannot be read: {words}", hint="its files must be Parquet, and their columns fit"
        ) from None


def partitions(folder: Path) -> list[tuple[Path, str]]:
    """Every Parquet file below a folder, with its place in it, sorted. Raises InputError when there is none."""
    found = sorted(path for path in folder.rglob("*.parquet") if path.is_file())
    if not found:
        raise InputError(f"{folder}: has no Parquet files in it", hint="name the folder above the folders column=value")
    return [(path, os.fspath(path.relative_to(folder))) for path in found]


def _columns(place: str) -> list[tuple[str, str | None]]:
    pairs = (part.partition("=") for part in place.split("/")[:-1] if "=" in part)
    return [(unquote(name), None if value == _NULL else unquote(value)) for name, _, value in pairs]
