"""The broker's address. Its password is a secret: nothing but ``Address.shown`` is ever printed or stored."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from llmbatch.errors import UsageError
from llmbatch.hosts import is_this_machine
from llmbatch.intake.trust import PARAMETERS, Trust
from llmbatch.scrub import remember

#: scheme -> (module that speaks it, whether the line is encrypted)
_SCHEMES = {
    "amqp": ("kombu", False),
    "amqps": ("kombu", True),
    "sqs": ("boto3", True),
    "redis": ("redis", False),
    "rediss": ("redis", True),
    "memory": (None, True),
}
_PORTS = {"amqp": 5672, "amqps": 5671, "redis": 6379, "rediss": 6379}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a broker is."""

    scheme: str
    host: str  #: of sqs the region, empty where the environment names it
    port: int | None
    path: str  #: the virtual host (AMQP) or the database (Redis), without the slash
    user: str | None
    password: str | None
    trust: Trust

    @property
    def shown(self) -> str:
        """For people, logs and the ledger."""
        port = f":{self.port}" if self.port is not None else ""
        return f"{self.scheme}://{self.host}{port}" + (f"/{self.path}" if self.path else "")

    @property
    def encrypted(self) -> bool:
        """Whether rows and password are hidden on their way."""
        return _SCHEMES[self.scheme][1]


def address_of(url: str, *, allow_insecure: bool = False) -> Address:
    """Take a broker's address apart.

    Raises UsageError, which shows nothing of the address but its scheme and host, when it is none, when its library is
    not installed, or when rows would cross a network in clear text.
    """
    parts = _parts(url)
    if parts.username or parts.password:
        remember(url)
        for secret in filter(None, (parts.password, unquote(parts.password or ""))):
            remember(secret)
    if parts.scheme == "sqs" and (parts.username or parts.password):
        raise UsageError(
            "--broker sqs://: holds credentials", hint="they come from the environment, as the AWS tools take them"
        )
    module, encrypted = _SCHEMES[parts.scheme]
    if module is not None and module not in sys.modules and importlib.util.find_spec(module) is None:
        raise UsageError(
            f"--broker {parts.scheme}:// needs the extra llmbatch[queue]", hint="pip install 'llmbatch[queue]'"
        )
    host = parts.hostname or ("localhost" if parts.scheme in _PORTS else "")
    if not encrypted and not allow_insecure and not is_this_machine(f"{parts.scheme}://{_bracketed(host)}"):
        raise UsageError(
            f"--broker: {parts.scheme} to {host} sends rows and password in clear text",
            hint=f"use {parts.scheme}s, or --allow-insecure where the network between is trusted",
        )
    return Address(
        scheme=parts.scheme,
        host=host,
        port=parts.port or _PORTS.get(parts.scheme),
        path=unquote(parts.path.removeprefix("/")),
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        trust=_trust(parts),
    )


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises for a port that is none
    except ValueError:
        raise UsageError("--broker is no address", hint=_EXAMPLES) from None
    if parts.scheme not in _SCHEMES or parts.fragment:
        raise UsageError("--broker is no address of a broker", hint=_EXAMPLES)
    return parts


def _trust(parts: SplitResult) -> Trust:
    """Of the address's parameters. Raises UsageError, which shows none of them, for one that is unknown."""
    given = parse_qsl(parts.query, keep_blank_values=True)
    if not given:
        return Trust()
    if parts.scheme not in ("amqps", "rediss"):
        raise UsageError(f"--broker {parts.scheme}:// takes no parameters (?...)", hint="those of amqps and rediss do")
    if any(name not in PARAMETERS or not value for name, value in given):
        raise UsageError(
            f"--broker {parts.scheme}://: a parameter is unknown or empty",
            hint=f"{', '.join(PARAMETERS)} are known, each =FILE; certificates are always verified",
        )
    trust = Trust(**{PARAMETERS[name]: value for name, value in given})
    trust.check()
    return trust


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


_EXAMPLES = (
    "amqps://USER:PASSWORD@HOST/VHOST, sqs://REGION, rediss://:PASSWORD@HOST/0; what is no letter or digit in a \
password is written %XX"
)
