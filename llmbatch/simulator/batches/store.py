"""The server's files, on disk: uploads are written as they come, contents sent as they are."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as the API describes it."""

    id: str
    path: Path
    name: str
    purpose: str
    bytes: int
    created_at: float  #: of the server's clock

    def as_json(self) -> dict[str, object]:
        """The file object."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": int(self.created_at),
            "filename": self.name,
            "purpose": self.purpose,
            "status": "processed",
        }


class Store:
    """Files by id, oldest first, in a folder that ends with the server."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None  # made by the first file
        self._number = 0
        self.files: dict[str, StoredFile] = {}

    async def put(self, name: str, purpose: str, chunks: AsyncIterator[bytes], now: float) -> StoredFile:
        """Keep what comes, as one file."""
        path, size = self.place(), 0
        with path.open("wb") as file:
            async for chunk in chunks:
                size += file.write(chunk)
        return self.keep(path, name, purpose, now)

    def place(self) -> Path:
        """Where a new file can be written."""
        self._number += 1
        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="llmbatch-simulator-")
        return Path(self._folder.name) / f"file-{self._number:06}"

    def keep(self, path: Path, name: str, purpose: str, now: float) -> StoredFile:
        """Give a written file an id."""
        stored = StoredFile(path.name, path, name, purpose, path.stat().st_size, now)
        self.files[stored.id] = stored
        return stored

    def delete(self, file_id: str) -> bool:
        """Whether there was such a file."""
        return self.files.pop(file_id, None) is not None  # on disk it stays: a batch may still be made of it

    def close(self) -> None:
        """Remove the folder."""
        if self._folder is not None:
            self._folder.cleanup()
