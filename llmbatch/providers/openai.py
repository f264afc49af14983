"""OpenAI, and every server that speaks its chat completions API; Azure by environment.

The one gate for the SDK's and the transport's exceptions: they become decisions here, and nowhere else is an error's
text looked at.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx2
import openai
import orjson

from llmbatch.errors import Decision, Overloaded, RateLimited, Refused, Rejected, TimedOut, Transient, UsageError
from llmbatch.limits.headers import retry_after
from llmbatch.providers.modes import Modes
from llmbatch.reply import BrokenReply, parse_reply
from llmbatch.settings import ProviderSettings
from llmbatch.types import Reply, Request

_SPENT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_EVERY_ROW = frozenset({"model_not_found", "invalid_api_key", "unsupported_parameter", "unsupported_value"})
_CONNECTIONS = 10_000  #: the pool never queues silently; the limiter decides what is in flight
_NO_KEY = "no-key"  #: what self-hosted servers get when no key is set


class OpenAI:
    """Asks chat completions through the official SDK. ``note`` receives what a person should know, once."""

    def __init__(self, settings: ProviderSettings, *, timeout_s: float, note: Callable[[str], None]) -> None:
        self._client = _client(settings, timeout_s)
        self._key = self._client.api_key
        self._modes = Modes(note)

    async def call(self, request: Request) -> Reply:
        """Ask once. Structured output falls back by itself to what the server can do (see modes.py)."""
        while True:
            wire = self._modes.current
            started = time.perf_counter()
            try:
                return await self._post(self._modes.body(request), started)
            except openai.APIStatusError as error:
                if self._modes.step_down(wire, error.status_code, error.body):
                    continue
                raise self._of_status(error, _since(started)) from None
            except openai.APIConnectionError as error:
                raise _of_connection(error, _since(started)) from None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    @property
    def structured_output(self) -> str:
        """How the answer's form is asked for: json_schema, json_object or instructions."""
        return self._modes.current.mode.value

    async def _post(self, body: dict[str, Any], started: float) -> Reply:
        response = await self._client.post("/chat/completions", body=body, cast_to=httpx2.Response)
        latency = _since(started)
        try:
            reply = parse_reply(response.content.decode("utf-8"))
        except (BrokenReply, UnicodeDecodeError) as error:
            reason = str(error) if isinstance(error, BrokenReply) else "the body is not UTF-8"
            raise Transient(
                f"status 200, but no answer: {self._scrub(reason)}",
                failure="broken_reply",
                http_status=response.status_code,
                latency_s=latency,
                possibly_paid=True,
            ) from None
        return reply.arrived(response.status_code, latency, _rate_headers(response.headers))

    def _of_status(self, error: openai.APIStatusError, latency_s: float) -> Decision:
        kind, failure = decide(error.status_code, error.response.headers, error.body)
        return kind(
            self._scrub(f"status {error.status_code}: {_words(error)}"),
            failure=failure,
            retry_after=retry_after(error.response.headers, time.time()),
            http_status=error.status_code,
            latency_s=latency_s,
            headers=_rate_headers(error.response.headers),
        )

    def _scrub(self, text: str) -> str:
        """No key, no control character, no long text: error words are stored and shown."""
        if self._key and self._key != _NO_KEY:
            text = text.replace(self._key, "[key]")
        text = re.sub(r"\b(sk|key|gsk|Bearer)[-_ ][\w*.-]{6,}", "[key]", text)
        return re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", text)[:300]


def decide(status: int, headers: Mapping[str, str], body: object) -> tuple[type[Decision], str | None]:
    """What an error status means: the decision, and the failure class where it is not the decision's own.

    Status first; the body's code and words only where one status means two things.
    """
    code, param, message = _error_fields(body)
    told_not_to = headers.get("x-should-retry", "").lower() == "false"
    if status >= 500 or status in (408, 409, 425):
        if told_not_to:
            return Rejected, "transient"
        return (Overloaded if status in (503, 529) else Transient), None
    if status in (401, 402, 403, 404) or 300 <= status < 400:
        return Refused, None
    if status == 429:
        spent = code in _SPENT or "exceeded your current quota" in message
        return (Refused if spent else RateLimited), None
    if code == "context_length_exceeded" or re.search(r"context (length|window)|too many tokens|too long", message):
        return Rejected, "context_length"
    if "content_filter" in code or "content_policy" in code or "content management policy" in message:
        return Rejected, "content_filter"
    if code in _EVERY_ROW or "api key" in message or (param and not param.startswith("messages")):
        return Refused, None  # the same for every row
    return Rejected, None


def _of_connection(error: openai.APIConnectionError, latency_s: float) -> Transient:
    """A fault without an answer. The transport's own names mislead (a reset is a ConnectTimeout): look beneath."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    never_sent = aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | httpx2.PoolTimeout
    if any(isinstance(cause, never_sent) for cause in causes):
        return Transient(f"cannot connect: {type(causes[-1]).__name__}", failure="connection", latency_s=latency_s)
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return TimedOut("no answer in time", latency_s=latency_s, possibly_paid=True)
    lost = f"connection lost: {type(causes[-1]).__name__}"
    return Transient(lost, failure="connection", latency_s=latency_s, possibly_paid=True)


def _error_fields(body: object) -> tuple[str, str, str]:
    """(code or type, param, message), lower case, of an error body in whatever shape it came."""
    error = body.get("error", body) if isinstance(body, Mapping) else body
    if not isinstance(error, Mapping):
        return "", "", str(error or "").lower()[:2000]
    code = str(error.get("code") or error.get("type") or "")
    message = error.get("message") or error.get("detail") or ""
    return code.lower(), str(error.get("param") or ""), str(message).lower()[:2000]


def _words(error: openai.APIStatusError) -> str:
    """The provider's own words, without markup or structure."""
    body = error.body
    inner = body.get("error", body) if isinstance(body, Mapping) else body
    if isinstance(inner, Mapping):
        words = inner.get("message") or inner.get("detail") or orjson.dumps(inner, default=str).decode()
    else:
        words = inner or error.response.text
    if 300 <= error.status_code < 400:
        host = urlsplit(error.response.headers.get("location", "")).hostname or "elsewhere"
        return f"the server redirects to {host}; it is not followed. Correct base_url"
    return re.sub(r"<[^>]*>|\s+", " ", str(words)).strip() or "no reason given"


def _client(settings: ProviderSettings, timeout_s: float) -> openai.AsyncOpenAI:
    """The SDK's client: no retries of its own, no redirects, the aiohttp transport."""
    http = openai.DefaultAioHttpClient(
        timeout=httpx2.Timeout(timeout_s, connect=min(timeout_s, 30.0)),
        limits=httpx2.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS),
        follow_redirects=False,
    )
    if settings.base_url is None and os.environ.get("AZURE_OPENAI_ENDPOINT"):
        try:
            return openai.AsyncAzureOpenAI(max_retries=0, http_client=http)
        except openai.OpenAIError as error:
            raise UsageError(f"Azure: {error}") from None
    base_url = _checked(settings.base_url or os.environ.get("OPENAI_BASE_URL") or None)
    return openai.AsyncOpenAI(api_key=_api_key(settings, base_url), base_url=base_url, max_retries=0, http_client=http)


def _api_key(settings: ProviderSettings, base_url: str | None) -> str:
    key = os.environ.get(settings.api_key_env, "").strip()
    if key:
        return key
    if base_url and is_this_machine(base_url):
        return _NO_KEY
    raise UsageError(
        f"no API key: the environment variable {settings.api_key_env} is not set",
        hint=f"export {settings.api_key_env}=..., or try without a key: --provider offline",
    )


def _checked(base_url: str | None) -> str | None:
    if base_url is None:
        return None
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"base_url {parts.hostname or base_url!r} is no http(s) address", hint="https://HOST/v1")
    if parts.username or parts.password:
        raise UsageError("base_url holds a user or password", hint="put the key into the environment variable instead")
    return base_url


def is_this_machine(base_url: str) -> bool:
    """Whether the address is this machine's own."""
    host = urlsplit(base_url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _rate_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {k.lower(): v for k, v in headers.items() if k.lower().startswith(("x-ratelimit-", "retry-after"))}


def _since(started: float) -> float:
    return time.perf_counter() - started
