"""Where requests go, and with which key.

A key belongs to a host. ``api_key_env`` and ``api_key_file`` in pipeline.toml say which key an address gets. Where
neither is written, OPENAI_API_KEY goes to OpenAI, to this machine, and to the address that the person who started the
run named, by ``--base-url`` or OPENAI_BASE_URL; to no other address that stands in a file.
"""

from __future__ import annotations

import os
import re
import socket
import stat
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from llmbatch.errors import UsageError
from llmbatch.hosts import is_this_machine, number_of
from llmbatch.scrub import remember
from llmbatch.settings import ProviderSettings

NO_KEY = "no-key"  #: what servers on this machine get when no key is set
_KEY = re.compile(r"[!-~]+")  #: visible ASCII; anything else would break the header, and be quoted in the error
_LONGEST_KEY = 8_192  #: bytes
_METADATA = frozenset({ip_address("fd00:ec2::254"), ip_address("100.100.100.200")})  #: of AWS and Alibaba
_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "metadata.goog"})


def base_url(settings: ProviderSettings) -> str | None:
    """The address that requests go to; None for OpenAI's own. Raises UsageError when it must not be used."""
    url = settings.base_url or os.environ.get("OPENAI_BASE_URL") or None
    if url is None:
        return None
    parts = _parts(url)
    _refuse_metadata(parts)
    if parts.scheme == "http" and not is_this_machine(url) and not settings.allow_insecure:
        raise UsageError(
            f"base_url: http to {parts.hostname} sends rows and key in clear text",
            hint="use https, or --allow-insecure where the network between is trusted",
        )
    return url


def api_key(settings: ProviderSettings, url: str | None) -> str:
    """The key for an address that :func:`base_url` gave. Raises UsageError when there is none, or it belongs elsewhere.

    A server on this machine needs none.
    """
    if settings.api_key_file is not None:
        key = _from_file(Path(settings.api_key_file).expanduser())
    else:
        key = os.environ.get(settings.api_key_env, "").strip()
        if not key and url and is_this_machine(url):
            return NO_KEY
        if not key:
            raise UsageError(
                f"no API key: the environment variable {settings.api_key_env} is not set",
                hint=f"export {settings.api_key_env}=..., or try without a key: --provider offline",
            )
    if not _KEY.fullmatch(key):
        where = settings.api_key_file or settings.api_key_env
        raise UsageError(f"the API key in {where} has spaces, line breaks or strange characters in it")
    remember(key)
    _refuse_foreign_host(settings)
    return key


def _parts(url: str) -> SplitResult:
    """The address taken apart; nothing of it is shown but its host, for a key may stand anywhere."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises for a port that is none
    except ValueError:
        raise UsageError("base_url is no http(s) address", hint="https://HOST/v1") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError("base_url is no http(s) address", hint="https://HOST/v1")
    if parts.username or parts.password:
        raise UsageError("base_url holds a user or password", hint=_ELSEWHERE)
    if parts.query or parts.fragment:
        raise UsageError("base_url holds a query", hint=f"end it with the path, such as /v1; {_ELSEWHERE}")
    return parts


_ELSEWHERE = "a key belongs into an environment variable, named by api_key_env"


def _refuse_metadata(parts: SplitResult) -> None:
    """Addresses from which cloud machines get their credentials are no provider, whatever leads to them.

    A name is looked up only where no certificate would prove the host.
    """
    host = parts.hostname or ""
    addresses = [address] if (address := number_of(host)) else []
    if parts.scheme == "http" and not addresses and host != "localhost":
        addresses = _looked_up(host, parts.port or 80)
    if host.rstrip(".") in _METADATA_NAMES or any(_is_metadata(address) for address in addresses):
        raise UsageError(
            f"base_url leads to {host}, a link-local or metadata address", hint="name the provider's own address"
        )


def _looked_up(host: str, port: int) -> list[IPv4Address | IPv6Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []  # it cannot be connected to either; the first call says so
    return [address for *_, place in found if (address := number_of(str(place[0])))]


def _is_metadata(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_link_local or address in _METADATA


def _refuse_foreign_host(settings: ProviderSettings) -> None:
    """Raise UsageError when pipeline.toml names an address, but not the key for it."""
    url = settings.base_url
    if url is None or is_this_machine(url) or {"api_key_env", "api_key_file"} & settings.model_fields_set:
        return
    host = urlsplit(url).hostname or ""
    if host != "openai.com" and not host.endswith(".openai.com"):
        raise UsageError(
            f"pipeline.toml sends requests to {host}, but does not say which key is for it",
            hint=f'write api_key_env = "{settings.api_key_env}" into [provider] if that key is for {host}',
        )


def _from_file(path: Path) -> str:
    """The key in a file that only its owner can read. Raises UsageError."""
    try:
        if path.is_symlink() and path.lstat().st_uid not in (os.geteuid(), 0):
            raise UsageError(f"api_key_file {path} is a link that belongs to another user", hint="name the file itself")
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            _refuse_shared(path, os.fstat(file.fileno()))
            return file.read(_LONGEST_KEY).decode("ascii", "replace").strip()
    except OSError as error:
        raise UsageError(f"api_key_file {path} cannot be read: {error.strerror}") from None


def _refuse_shared(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"api_key_file {path} is no regular file")
    if found.st_uid != os.geteuid():
        raise UsageError(f"api_key_file {path} belongs to another user", hint="make a copy of your own, with mode 0600")
    if found.st_mode & 0o077:
        raise UsageError(
            f"api_key_file {path} can be read by others (mode {stat.S_IMODE(found.st_mode):04o})",
            hint=f"chmod 600 {path}, and replace the key if others may have read it",
        )
