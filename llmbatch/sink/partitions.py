"""Results once more as a folder of Hive partitions, ``results/COLUMN=VALUE/...``, in the place of the older one."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from llmbatch.atomic import alive
from llmbatch.errors import StorageError

_AT_CWD, _EXCHANGE = -100, 2  #: of renameat2(2)


def write_partitions(results: Path, by: Sequence[str]) -> Path:
    """Split a results file in Parquet by columns; returns the folder. Raises StorageError.

    The new folder takes the older one's place in one exchange, where the file system can; else the older one is gone
    for a moment.
    """
    folder = results.with_suffix("")
    new = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        _remove_leftovers(folder)
        new.mkdir(mode=0o700)
        pl.scan_parquet(results, glob=False, hive_partitioning=False).sink_parquet(
            pl.PartitionBy(new, key=list(by), include_key=False), compression="zstd", mkdir=True
        )
        if folder.exists():
            _exchange(new, folder)
            shutil.rmtree(new)
        else:
            new.rename(folder)
    except (OSError, pl.exceptions.PolarsError) as error:
        shutil.rmtree(new, ignore_errors=True)
        words = str(error).partition("\n")[0][:200]
        raise StorageError(
            f"cannot write {folder}: {words}", hint="free some space and run the same command again"
        ) from None
    return folder


def _exchange(new: Path, old: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(new), os.fsencode(old)
    if hasattr(libc, "renameat2") and libc.renameat2(_AT_CWD, names[0], _AT_CWD, names[1], _EXCHANGE) == 0:
        return
    aside = new.with_suffix(".old")
    old.rename(aside)
    new.rename(old)
    aside.rename(new)


def _remove_leftovers(folder: Path) -> None:
    name = re.compile(rf"\.{re.escape(folder.name)}\.(\d+)\.(tmp|old)")
    for entry in folder.parent.iterdir():
        if (found := name.fullmatch(entry.name)) and not alive(int(found[1])):
            shutil.rmtree(entry, ignore_errors=True)
