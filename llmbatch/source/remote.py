"""Inputs from object stores and by https: copied once, to beside the ledger, and read from there.

Rows are read three times (checked, answered, written). A copy is one version of an object, whatever is put in its place
meanwhile, and costs one download.
"""

from __future__ import annotations

import fnmatch
import http.client
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from llmbatch.errors import InputError
from llmbatch.hosts import is_this_machine
from llmbatch.scrub import remember
from llmbatch.stores import faults, is_object, place_of

if TYPE_CHECKING:
    from obstore import GetResult

_CHUNK = 8 * 2**20
_TIMEOUT_S = 60
_HINT = "check the address, and the credentials in the environment"


def is_remote(name: str) -> bool:
    """Whether an input is to be fetched."""
    return is_object(name) or name.startswith(("https://", "http://"))


def named(name: str) -> list[str]:
    """The addresses that one stands for: a pattern's or a folder's objects, sorted.

    Raises InputError when there are none.
    """
    if not is_object(name) or not (name.endswith("/") or any(sign in name for sign in "*?[")):
        return [name]
    place = place_of(name)
    fixed = re.split(r"[*?[]", place.path)[0]
    pattern = f"{place.path}*" if name.endswith("/") else place.path
    scheme, _, rest = name.partition("://")
    bucket = rest.partition("/")[0]
    with faults(name, InputError, _HINT):
        pages = place.store.list(prefix=fixed.rpartition("/")[0] or None)
        paths = [meta["path"] for page in pages for meta in page]
    found = sorted(path for path in paths if _matches(path, pattern))
    if not found:
        raise InputError(f"{name}: no object matches", hint=_HINT)
    return [f"{scheme}://{bucket}/{path}" for path in found]


def _matches(path: str, pattern: str) -> bool:
    """As in a shell: ``*`` stays within a folder, ``**`` and a folder's end do not."""
    if "**" in pattern or pattern.endswith("/*"):
        return fnmatch.fnmatchcase(path, pattern.replace("**/", "*"))
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)


def fetch(name: str, target: IO[bytes]) -> str:
    """Copy what an address leads to; returns the address as it may be shown. Raises InputError, OSError."""
    if is_object(name):
        place = place_of(name)
        with faults(name, InputError, _HINT):
            found = place.store.get(place.path)
        _whole(name, _chunks(name, found), target, found.meta["size"])
        return name
    return _fetch_url(name, target)


def _chunks(name: str, found: GetResult) -> Iterator[Any]:
    """The store's faults are named here, so that those of the disk they are written to are not taken for them."""
    stream = iter(found.stream(min_chunk_size=_CHUNK))
    while True:
        with faults(name, InputError, _HINT):
            chunk = next(stream, None)
        if chunk is None:
            return
        yield chunk


def _whole(name: str, chunks: Iterator[Any], target: IO[bytes], size: int | None) -> None:
    done = 0
    for chunk in chunks:
        target.write(chunk)
        done += len(chunk)
    if size is not None and done != size:
        raise InputError(
            f"{name}: {done:,} of {size:,} bytes came", hint="start again: it changed, or the line was cut"
        )


def _fetch_url(url: str, target: IO[bytes]) -> str:
    parts = urlsplit(url)
    shown = f"{parts.scheme}://{parts.hostname}{parts.path}"
    if parts.username or parts.password:
        raise InputError(
            f"{shown}: the address holds a user or password", hint="sign the address, or use an object store"
        )
    if parts.query:
        remember(parts.query)  # a signature
    _refuse_clear_text(url)
    opener = urllib.request.build_opener(_StaysEncrypted)
    try:
        with opener.open(url, timeout=_TIMEOUT_S) as reply:
            length = reply.headers.get("Content-Length")
            _whole(shown, iter(lambda: reply.read(_CHUNK), b""), target, int(length) if length else None)
    except urllib.error.HTTPError as error:
        error.close()
        raise InputError(f"{shown}: the server says {error.code}", hint=_HINT) from None
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, ssl.SSLError, TimeoutError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise InputError(f"{shown}: cannot be fetched: {type(reason).__name__}", hint=_HINT) from None
    return shown


class _StaysEncrypted(urllib.request.HTTPRedirectHandler):
    """Follows redirects as long as they do not leave TLS."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        _refuse_clear_text(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _refuse_clear_text(url: str) -> None:
    if not url.startswith("https://") and not is_this_machine(url):
        host = urlsplit(url).hostname
        raise InputError(f"http to {host} sends rows in clear text, and to whoever answers", hint="use https")
