"""OpenAI, and every server that speaks its chat completions API; Azure by environment.

The one gate for a provider's faults: they become decisions here and in wire.py, and nowhere else is an error's text
looked at.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import httpx2
import openai
import orjson

from llmbatch.errors import Decision, Overloaded, RateLimited, Refused, Rejected, Transient, Unavailable, UsageError
from llmbatch.limits.headers import retry_after
from llmbatch.providers import access
from llmbatch.providers.echo import without_echo
from llmbatch.providers.modes import Modes
from llmbatch.providers.wire import Answer, Direct, ThroughSdk, Wire
from llmbatch.reply import BrokenReply, parse_reply
from llmbatch.scrub import HIDDEN, scrub
from llmbatch.settings import ProviderSettings
from llmbatch.turns import Turns
from llmbatch.types import Reply, Request

_SPENT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_EVERY_ROW = frozenset({"model_not_found", "invalid_api_key", "unsupported_parameter", "unsupported_value"})
_CONNECTIONS = 10_000  #: the pool never queues silently; the limiter decides what is in flight
_READ = 16  #: answers read in one turn of the loop: some 3 ms
_MOST_WORDS = 2_000  #: characters of an error's words that are looked at
_LEAST_KEY = 16  #: characters of a real one
_LONGEST_REASON = 300  #: characters of them that are stored and shown
_TALKATIVE = ("aiohttp", "asyncio", "httpcore2", "httpx2", "openai")  #: their log records hold URLs, headers and bodies


class OpenAI:
    """Asks chat completions. ``note`` receives what a person should know, once.

    ``forms`` of structured output are known to be obeyed (None: found out by asking), see capabilities.py.
    ``through_sdk`` sends by the SDK's own transport even where the faster wire would serve.
    """

    def __init__(
        self,
        settings: ProviderSettings,
        *,
        timeout_s: float,
        note: Callable[[str], None],
        forms: tuple[str, ...] | None = None,
        through_sdk: bool = False,
    ) -> None:
        client = client_of(settings, timeout_s)
        through_sdk = through_sdk or isinstance(client, openai.AsyncAzureOpenAI)
        self._wire: Wire = ThroughSdk(client) if through_sdk else Direct(client)
        self._key = client.api_key
        self._modes = Modes(note, forms)
        self._turns = Turns(_READ)

    async def call(self, request: Request) -> Reply:
        """Ask once. Structured output falls back by itself to what the server can do (see modes.py)."""
        while True:
            used = self._modes.current
            answer = await self._wire.post(self._modes.body(request))
            await self._turns.take()
            if answer.status == 200:
                return _reply(answer, self._key)
            error = _json(answer.body)
            if not self._modes.step_down(used, answer.status, error):
                raise _decision(answer, error, request)

    async def close(self) -> None:
        """Close the connections."""
        await self._wire.close()

    @property
    def structured_output(self) -> str:
        """How the answer's form is asked for: json_schema, json_object or instructions."""
        return self._modes.current.mode.value


class Embeddings:
    """Asks for the embedding of a request's user message, by the SDK. Where and with which key is as for answers."""

    def __init__(self, settings: ProviderSettings, *, timeout_s: float) -> None:
        client = client_of(settings, timeout_s)
        self._wire: Wire = ThroughSdk(client, "/embeddings")
        self._key = client.api_key

    async def call(self, request: Request) -> Reply:
        """Ask once. Base64 is a quarter as long as numbers written out; a server that knows only those sends those."""
        text = request.messages[-1]["content"]
        body = {"model": request.model, "input": text, "encoding_format": "base64", **request.params}
        answer = await self._wire.post(body)
        if answer.status == 200:
            return _reply(answer, self._key)
        raise _decision(answer, _json(answer.body), request)

    async def close(self) -> None:
        """Close the connections."""
        await self._wire.close()


def _reply(answer: Answer, key: str) -> Reply:
    """The answer read. A key in it, as a server would send that repeats its request, does not reach the ledger."""
    try:
        return parse_reply(
            without(key, answer.body.decode("utf-8")),
            http_status=answer.status,
            latency_s=answer.latency_s,
            headers=_rate_headers(answer.headers),
        )
    except (BrokenReply, UnicodeDecodeError) as error:
        reason = str(error) if isinstance(error, BrokenReply) else "the body is not UTF-8"
        raise Transient(
            f"status 200, but no answer: {shown(reason)}",
            failure="broken_reply",
            http_status=answer.status,
            latency_s=answer.latency_s,
            possibly_paid=True,
        ) from None


def without(key: str, text: str) -> str:
    """A short key is a stand-in for servers that take any, such as "dummy"; the answer may mean the word."""
    return text.replace(key, HIDDEN) if len(key) >= _LEAST_KEY else text


def _decision(answer: Answer, error: object, request: Request) -> Decision:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    kind, failure = decide(answer.status, headers, error)
    words = shown(words_of(answer.status, headers, error))
    return kind(
        f"status {answer.status}: {without_echo(words, request)[:_LONGEST_REASON]}",
        failure=failure,
        retry_after=retry_after(headers, time.time()),
        http_status=answer.status,
        latency_s=answer.latency_s,
        headers=_rate_headers(headers),
    )


def shown(words: str) -> str:
    """No key, nothing that a terminal would obey, not long: error words are stored and shown."""
    visible = "".join(char if char.isprintable() else " " for char in scrub(words[:_MOST_WORDS]))
    return " ".join(visible.split())


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
    if status in (413, 429) and "request too large" in message:
        return Rejected, "too_many_tokens"  # than a minute has: waiting does not help
    if status == 429:
        spent = code in _SPENT or "exceeded your current quota" in message
        busy = code == "resource_unavailable" or "resource unavailable" in message
        return (Refused if spent else Unavailable if busy else RateLimited), None
    if status == 498:
        return Unavailable, None  # Groq's flex tier
    if code == "context_length_exceeded" or re.search(r"context (length|window)|too many tokens|too long", message):
        return Rejected, "context_length"
    if "content_filter" in code or "content_policy" in code or "content management policy" in message:
        return Rejected, "content_filter"
    if code in _EVERY_ROW or "api key" in message or (param and not param.startswith("messages")):
        return Refused, None  # the same for every row
    return Rejected, None


def _error_fields(body: object) -> tuple[str, str, str]:
    """(code or type, param, message), lower case, of an error body in whatever shape it came."""
    error = body.get("error", body) if isinstance(body, Mapping) else body
    if not isinstance(error, Mapping):
        return "", "", str(error or "").lower()[:2000]
    code = str(error.get("code") or error.get("type") or "")
    message = error.get("message") or error.get("detail") or ""
    return code.lower(), str(error.get("param") or ""), str(message).lower()[:2000]


def _json(body: bytes) -> object:
    """An error's body: JSON, or its text."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body[:10_000].decode("utf-8", errors="replace")


def words_of(status: int, headers: Mapping[str, str], error: object) -> str:
    """The provider's own words, without markup or structure."""
    if 300 <= status < 400:
        host = urlsplit(headers.get("location", "")).hostname or "elsewhere"
        return f"the server redirects to {host}; it is not followed. Correct base_url"
    inner = error.get("error", error) if isinstance(error, Mapping) else error
    if isinstance(inner, Mapping):
        inner = inner.get("message") or inner.get("detail") or orjson.dumps(inner, default=str).decode()
    return re.sub(r"<[^>]*>|\s+", " ", str(inner or "")).strip() or "no reason given"


def client_of(settings: ProviderSettings, timeout_s: float) -> openai.AsyncOpenAI:
    """The SDK's client: no retries of its own, no redirects, the aiohttp transport, no log records."""
    for name in _TALKATIVE:
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False
    azure = os.environ.get("AZURE_OPENAI_ENDPOINT") if settings.base_url is None else None
    url = access.base_url(settings if not azure else settings.model_copy(update={"base_url": azure}))
    http = _http(timeout_s)
    if azure:
        try:
            return openai.AsyncAzureOpenAI(max_retries=0, http_client=http)
        except openai.OpenAIError as error:
            raise UsageError(f"Azure: {error}") from None
    return openai.AsyncOpenAI(api_key=access.api_key(settings, url), base_url=url, max_retries=0, http_client=http)


def _http(timeout_s: float) -> httpx2.AsyncClient:
    try:
        return openai.DefaultAioHttpClient(
            timeout=httpx2.Timeout(timeout_s, connect=min(timeout_s, 30.0)),
            limits=httpx2.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS),
            follow_redirects=False,
        )
    except OSError as error:
        named = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR") or "the system's certificates"
        raise UsageError(
            f"the certificates of the authorities to trust cannot be read: {named}: {error.strerror or error}",
            hint="correct SSL_CERT_FILE or SSL_CERT_DIR, or unset it",
        ) from None


def _rate_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {k.lower(): v for k, v in headers.items() if k.lower().startswith(("x-ratelimit-", "retry-after"))}
