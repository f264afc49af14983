"""Whose an address is, by its spelling alone."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit


def is_this_machine(url: str) -> bool:
    """Whether the address is this machine's own."""
    host = urlsplit(url).hostname or ""
    address = number_of(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def number_of(host: str) -> IPv4Address | IPv6Address | None:
    """A host that is written as a number."""
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        return None
