"""Attempts in the words of OpenTelemetry's semantic conventions for generative AI.

The conventions are those of https://github.com/open-telemetry/semantic-conventions-genai (status: development), for
inference spans and client metrics; ``llmbatch.*`` is our own. Nothing here is text of a row, a prompt or a reply.
"""

from __future__ import annotations

from typing import Any, TypeAlias
from urllib.parse import urlsplit

from llmbatch.outside.facts import Begun
from llmbatch.prices import provider_of
from llmbatch.types import Attempt, Usage

Value: TypeAlias = str | bool | int | float | list[str]
Attributes: TypeAlias = dict[str, Value]

#: the conventions' names where they differ from genai-prices'
_PROVIDERS = {
    "azure": "azure.ai.openai",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshotai": "moonshot_ai",
    "x-ai": "x_ai",
}
_NUMBERS = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "seed")
_PORTS = {"http": 80, "https": 443}

#: bucket boundaries that the conventions ask for: seconds, tokens
DURATION_BUCKETS = [0.01 * 2**n for n in range(14)]
TOKEN_BUCKETS = [float(4**n) for n in range(14)]


def common(begun: Begun) -> Attributes:
    """What every call of a run has, on spans and metrics."""
    facts: Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": _provider(begun),
        "gen_ai.request.model": begun.model,
    }
    if begun.provider != "offline":
        parts = urlsplit(begun.address or "https://api.openai.com")
        facts["server.address"] = parts.hostname or ""
        facts["server.port"] = parts.port or _PORTS.get(parts.scheme, 443)
    return facts


def asked(begun: Begun) -> Attributes:
    """What the run asks for, on its spans."""
    params: dict[str, Any] = begun.params
    facts: Attributes = {"gen_ai.output.type": "json"}
    if most := params.get("max_completion_tokens") or params.get("max_tokens"):
        facts["gen_ai.request.max_tokens"] = most
    facts |= {f"gen_ai.request.{name}": params[name] for name in _NUMBERS if params.get(name) is not None}
    if tier := params.get("service_tier"):
        facts["openai.request.service_tier"] = tier
    return facts


def ended(attempt: Attempt) -> Attributes:
    """What became of a call, on spans and metrics."""
    facts: Attributes = {}
    if attempt.failure is not None:
        facts["error.type"] = attempt.failure
    if attempt.model is not None:
        facts["gen_ai.request.model"] = attempt.model  # of a ladder, that which was asked
    if attempt.reply is not None and attempt.reply.model:
        facts["gen_ai.response.model"] = attempt.reply.model
    return facts


def answer(attempt: Attempt) -> Attributes:
    """What is known of a call and its reply beside its text, on its span."""
    facts: dict[str, Value | None] = {
        "http.response.status_code": attempt.http_status,
        "llmbatch.row_no": attempt.row_no,
        "llmbatch.key": attempt.key,
        "llmbatch.attempt": attempt.number,
        "llmbatch.cost_usd": None if attempt.cost_usd is None else float(attempt.cost_usd),
        "llmbatch.possibly_paid": attempt.possibly_paid or None,
    }
    if (reply := attempt.reply) is not None:
        facts["gen_ai.response.finish_reasons"] = [reply.finish_reason] if reply.finish_reason else None
        facts["openai.response.service_tier"] = reply.tier
        facts["openai.response.system_fingerprint"] = reply.fingerprint
        facts |= _tokens(reply.usage)
    return {name: value for name, value in facts.items() if value is not None}


def _tokens(usage: Usage | None) -> dict[str, int]:
    if usage is None:
        return {}
    parts = {
        "gen_ai.usage.cache_read.input_tokens": usage.cached,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning,
    }
    whole = {"gen_ai.usage.input_tokens": usage.input, "gen_ai.usage.output_tokens": usage.output}
    return whole | {name: count for name, count in parts.items() if count}


def _provider(begun: Begun) -> str:
    """A server that is none of the known ones goes by the API that it speaks."""
    if begun.provider == "offline":
        return "offline"
    known = provider_of(begun.address) or "openai"
    return _PROVIDERS.get(known, known)
