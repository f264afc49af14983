"""Object stores: s3://, gs:// and az://, by the extra ``llmbatch[cloud]`` (obstore).

Credentials, region and endpoint come from the environment alone, by the names that each provider's own tools use.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from llmbatch.errors import LlmbatchError, UsageError
from llmbatch.scrub import scrub

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES = ("s3", "gs", "az")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AZURE_STORAGE_ENDPOINT", "GOOGLE_BASE_URL")


class Place(NamedTuple):
    """An object, or what objects' names begin with."""

    url: str  #: as shown to people
    store: ObjectStore
    path: str  #: within the bucket or container


def is_object(name: str) -> bool:
    """Whether a name is of an object store."""
    return name.partition("://")[0] in SCHEMES


def as_url(path: Path) -> str | None:
    """The address that a Path was made of, which takes one of its slashes; None for a path of this machine."""
    match = re.fullmatch(rf"({'|'.join(SCHEMES)}|https?):/+(.*)", str(path))
    return f"{match[1]}://{match[2]}" if match else None


def place_of(url: str) -> Place:
    """Where an address leads. Raises UsageError when it names no bucket, or the extra is missing."""
    parts = urlsplit(url)
    if not parts.netloc or parts.username or parts.password or parts.query:
        raise UsageError(
            f"{parts.scheme}:// wants a bucket or container and a path", hint=f"{parts.scheme}://BUCKET/PATH"
        )
    try:
        from obstore.store import from_url
    except ImportError:
        raise UsageError(
            f"{parts.scheme}:// needs the extra llmbatch[cloud]", hint="pip install 'llmbatch[cloud]'"
        ) from None
    near = any(urlsplit(os.environ.get(name, "")).hostname in ("localhost", "127.0.0.1", "::1") for name in _ENDPOINTS)
    store = from_url(
        f"{parts.scheme}://{parts.netloc}",
        client_options={"allow_http": near, "connect_timeout": timedelta(seconds=10), "timeout": timedelta(minutes=30)},
        retry_config={"max_retries": 5, "retry_timeout": timedelta(seconds=60)},
    )
    return Place(url, store, parts.path.lstrip("/"))


@contextmanager
def faults(what: str, kind: type[LlmbatchError], hint: str) -> Iterator[None]:
    """A store's errors as one of ours, in its own first words."""
    from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError

    try:
        yield
    except (NotFoundError, FileNotFoundError):
        raise kind(f"{what}: there is no such object or bucket", hint=hint) from None
    except (PermissionDeniedError, UnauthenticatedError):
        raise kind(f"{what}: the credentials in the environment may not do that", hint=hint) from None
    except (BaseError, OSError) as error:
        raise kind(f"{what}: {scrub(str(error)).partition(chr(10))[0][:200]}", hint=hint) from None
