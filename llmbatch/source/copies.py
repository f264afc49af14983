"""Inputs that are no files of this machine, or are many files of one table: each copied once, to beside the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from llmbatch.errors import StorageError
from llmbatch.source.files import find, new_copy, sweep
from llmbatch.source.remote import fetch, is_remote, named
from llmbatch.source.tables import copy_partitions, copy_table, is_partitioned, is_table, partitions


class Copies:
    """Copies what needs to be; made by :func:`copying`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: list[Path] = []

    def find(self, name: str) -> list[tuple[str, Path]]:
        """Names to show and paths to read of what an input stands for. Raises InputError."""
        if is_remote(name):
            addresses = named(name)
            if any("=" in part for address in addresses for part in address.split("/")[3:-1]):
                return [(name, self._partitioned_objects(name, addresses))]
            return [self._fetched(address) for address in addresses]
        if is_table(name):
            copy_table(name, copy := self._new(".parquet"))
            return [(name, copy)]
        if is_partitioned(Path(name)):
            copy_partitions(name, partitions(Path(name)), copy := self._new(".parquet"))
            return [(name, copy)]
        return find([name])

    def kept(self) -> tuple[Path, ...]:
        """The copies made, which are the caller's now."""
        made, self._made = tuple(self._made), []
        return made

    def remove(self) -> None:
        """Those that nobody took."""
        for copy in self.kept():
            copy.unlink(missing_ok=True)

    def _new(self, suffix: str) -> Path:
        if not self._made:
            sweep(self._folder)
        self._made.append(copy := new_copy(self._folder, suffix))
        return copy

    def _fetched(self, address: str) -> tuple[str, Path]:
        copy = self._new("".join(PurePosixPath(address.partition("?")[0]).suffixes[-2:]))
        with copy.open("wb") as target:
            return fetch(address, target), copy

    def _partitioned_objects(self, name: str, addresses: list[str]) -> Path:
        files = [(self._fetched(address)[1], address.partition("://")[2]) for address in addresses]
        copy_partitions(name, files, copy := self._new(".parquet"))
        for file, _ in files:
            file.unlink()
            self._made.remove(file)
        return copy


@contextmanager
def copying(folder: Path) -> Iterator[Copies]:
    """Within: copies are made in ``folder``. Those not :meth:`Copies.kept` are removed. Raises StorageError."""
    copies = Copies(folder)
    try:
        yield copies
    except OSError as error:
        raise StorageError(
            f"{folder}: the input cannot be copied: {error.strerror or error}",
            hint="free some space, or copy the input to a disk and name it there",
        ) from error
    finally:
        copies.remove()
