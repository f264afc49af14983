"""The way of one chat completion over the wire, twice: below the SDK for speed, and through it.

The SDK builds and parses pydantic models around every call: 1.2 to 1.6 ms of CPU where aiohttp takes 0.13. So the one
hot call goes to aiohttp directly, with the SDK's address, credentials and headers. Azure, whose paths and tokens the
SDK knows, goes through it. Both bring (status, headers, body) or raise a Decision, and pass one contract.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
import openai
import orjson

from llmbatch.errors import Decision, Refused, TimedOut, Transient
from llmbatch.hosts import is_this_machine

MOST_BYTES = 16 * 2**20  #: of an answer's body; more is cut off and is a broken reply
_CONNECT_S = 30.0
_PATH = "/chat/completions"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever its status."""

    status: int
    headers: Mapping[str, str]  #: names in any case
    body: bytes
    latency_s: float


class Wire(Protocol):
    """Sends one body, once, and follows no redirect."""

    async def post(self, body: dict[str, Any]) -> Answer:
        """Send. Raises Transient or TimedOut when no whole answer came, Refused when the host is not who it says."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class Direct:
    """aiohttp, with the address, credentials and headers of an SDK client."""

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        self._url = str(client.base_url).rstrip("/") + _PATH
        headers = {**client.default_headers, **client.auth_headers, "Accept": "application/json"}
        self._headers = {name: value for name, value in headers.items() if isinstance(value, str)}
        self._proxy = _proxy(self._url)
        self._session: aiohttp.ClientSession | None = None

    async def post(self, body: dict[str, Any]) -> Answer:
        """Send. The caller bounds the time; only the connection has a limit of its own."""
        session = self._session or self._open()
        started = time.perf_counter()
        try:
            async with session.post(
                self._url,
                data=orjson.dumps(body),
                headers=self._headers,
                proxy=self._proxy,
                allow_redirects=False,
            ) as response:
                read = bytearray()
                async for chunk in response.content.iter_any():
                    read += chunk
                    if len(read) > MOST_BYTES:
                        raise _too_large(response.status, time.perf_counter() - started)
                return Answer(response.status, response.headers, bytes(read), time.perf_counter() - started)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise fault_of(error, time.perf_counter() - started) from None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        """The session; it belongs to the running loop. The limiter decides what is in flight, never the pool."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60, ssl=httpx2.create_ssl_context()),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self._session


class ThroughSdk:
    """The SDK's own client and transport."""

    def __init__(self, client: openai.AsyncOpenAI, path: str = _PATH) -> None:
        self._client = client
        self._path = path

    async def post(self, body: dict[str, Any]) -> Answer:
        """Send."""
        started = time.perf_counter()
        try:
            response = await self._client.post(self._path, body=body, cast_to=httpx2.Response)
        except openai.APIStatusError as error:
            response = error.response
        except openai.APIConnectionError as error:
            raise fault_of(error, time.perf_counter() - started) from None
        latency = time.perf_counter() - started
        if len(response.content) > MOST_BYTES:
            raise _too_large(response.status_code, latency)
        return Answer(response.status_code, response.headers, response.content, latency)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for an address. aiohttp would look it up, and .netrc, at every call."""
    parts = urlsplit(url)
    if is_this_machine(url) or proxy_bypass(parts.hostname or ""):
        return None
    return getproxies().get(parts.scheme)


def fault_of(error: BaseException, latency_s: float) -> Decision:
    """A fault without an answer. The SDK's own names mislead (a reset is a ConnectTimeout): look beneath."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    untrusted = ssl.SSLCertVerificationError | aiohttp.ClientConnectorCertificateError
    if any(isinstance(cause, untrusted) for cause in causes):
        words = "the host's certificate is not trusted; SSL_CERT_FILE may name a file with its authority's certificate"
        return Refused(words, latency_s=latency_s)
    never_sent = aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | httpx2.PoolTimeout
    if any(isinstance(cause, never_sent) for cause in causes):
        return Transient(f"cannot connect: {type(causes[-1]).__name__}", failure="connection", latency_s=latency_s)
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return TimedOut("no answer in time", latency_s=latency_s, possibly_paid=True)
    lost = f"connection lost: {type(causes[-1]).__name__}"
    return Transient(lost, failure="connection", latency_s=latency_s, possibly_paid=True)


def _too_large(status: int, latency_s: float) -> Transient:
    return Transient(
        f"the answer is larger than {MOST_BYTES >> 20} MiB",
        failure="broken_reply",
        http_status=status,
        latency_s=latency_s,
        possibly_paid=True,
    )
