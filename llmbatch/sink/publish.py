"""Results and reports into an object store: each object appears when its upload is complete, and not before."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from llmbatch.errors import StorageError, UsageError
from llmbatch.stores import Place, faults, is_object, place_of

_HINT = "type the same command again when it works: nothing that is stored is paid for again"


def check_store(url: str) -> None:
    """Find out before a run whether the store can be reached. Raises UsageError."""
    if not is_object(url):
        raise UsageError(f"--output {url}: results cannot be put there", hint="s3://, gs://, az://, or a folder")
    place = place_of(url)
    with faults(f"--output {url}", UsageError, "check the address, and the credentials in the environment"):
        next(iter(place.store.list(prefix=place.path or None, chunk_size=1)), None)


def publish(folder: Path, names: Sequence[str], url: str) -> None:
    """Put files, and whole folders, of ``folder`` under an address, in this order, then remove them here.

    A file in parts is uploaded as such and completed at its end, so that nobody reads half of it. Of a folder, objects
    that were there before and are not of the new one are deleted last. Raises StorageError.
    """
    place = place_of(url)
    with faults(url, StorageError, _HINT):
        for name in names:
            path = folder / name
            if path.is_dir():
                _put_folder(place, path)
            else:
                place.store.put(_key(place, name), path)
    for name in names:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _put_folder(place: Place, folder: Path) -> None:
    prefix = _key(place, folder.name)
    keys = {f"{prefix}/{path.relative_to(folder)}": path for path in sorted(folder.rglob("*")) if path.is_file()}
    for key, path in keys.items():
        place.store.put(key, path)
    stale = [meta["path"] for page in place.store.list(prefix=prefix) for meta in page if meta["path"] not in keys]
    for key in stale:
        place.store.delete(key)


def _key(place: Place, name: str) -> str:
    return f"{place.path.rstrip('/')}/{name}".lstrip("/")
