"""What a provider accepts: tiers, batches, forms of structured output. The facts are in capabilities.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from llmbatch import providers
from llmbatch.errors import UsageError
from llmbatch.prices import provider_of
from llmbatch.settings import Settings

_ALIASES = {"google": "gemini"}  #: names of genai-prices that are not the table's
SELF_HOSTED = "self-hosted"  #: what an address is that the table does not know
OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one provider is known to accept. None where no page says so."""

    provider: str  #: as in capabilities.toml; "self-hosted" for an unknown address, "offline"
    structured_output: tuple[str, ...] | None = None  #: forms that are obeyed, best first; None: found out by asking
    service_tiers: tuple[str, ...] = ()  #: values of service_tier that change price or wait
    batches: Literal["files", "own", "none"] = "none"  #: files: OpenAI's Files and Batches; own: no adapter for it
    batch_requests: int | None = None  #: of a file
    batch_bytes: int | None = None  #: of a file
    batch_enqueued_tokens: int | None = None  #: in all batches at a time
    batch_window: str | None = None
    batch_retention_days: int | None = None
    max_tokens: str | None = None  #: the name of the bound on the answer
    rate_headers: str | None = None

    @property
    def tiers(self) -> tuple[str, ...]:
        """What --tier may name here."""
        flex, batch = "flex" in self.service_tiers, self.batches == "files"
        cheaper = (*(["flex"] if flex else []), *(["batch"] if batch else []))
        return ("standard", *cheaper, *(["auto"] if cheaper else []))


@cache
def facts() -> tuple[Mapping[str, Any], ...]:
    """Every fact: provider, what, value, source, date."""
    text = (files("llmbatch.providers") / "capabilities.toml").read_text(encoding="utf-8")
    return tuple(tomllib.loads(text)["fact"])


@cache
def table() -> Mapping[str, Capabilities]:
    """Providers by name, in the file's order."""
    named: dict[str, dict[str, Any]] = {}
    for fact in facts():
        value = tuple(fact["value"]) if isinstance(fact["value"], list) else fact["value"]
        named.setdefault(fact["provider"], {})[fact["what"].replace(".", "_")] = value
    return {name: Capabilities(name, **known) for name, known in named.items()}


def of(settings: Settings) -> Capabilities:
    """What the provider of a pipeline accepts: by ``[provider] like``, else by the host that requests go to.

    Raises UsageError when ``like`` names no provider of the table.
    """
    if settings.provider.kind == "offline":
        return Capabilities(OFFLINE)
    like = settings.provider.like
    if like is not None and like not in table():
        raise UsageError(f"provider.like: no provider {like!r} is known", hint=f"one of: {', '.join(table())}")
    found = like or provider_of(providers.address(settings))
    return table().get(_ALIASES.get(found or "", found or ""), Capabilities(SELF_HOSTED))


def refuse(settings: Settings) -> None:
    """Raise UsageError when the pipeline asks its provider for a tier that it lacks, or for two at once."""
    found, tier = of(settings), settings.limits.tier
    asked = settings.request.params.get("service_tier")
    if tier != "standard" and asked is not None:
        raise UsageError(
            f"--tier {tier} and service_tier = {asked!r} in [request] params: which one?",
            hint="leave service_tier out of params; it is in every request's key there",
        )
    if tier not in found.tiers:
        raise UsageError(f"{_lacks(found, tier)}", hint=_alternatives(found, tier))
    if asked in ("flex", "priority") and found.provider in table() and asked not in found.service_tiers:
        raise UsageError(f"{found.provider} has no service tier {asked!r}", hint=_alternatives(found, asked))


def _lacks(found: Capabilities, tier: str) -> str:
    if found.provider == SELF_HOSTED:
        return f"nothing is known of this server that would let it answer by tier {tier}"
    if tier == "batch" and found.batches == "own":
        return f"{found.provider} has batches of its own kind, for which llmbatch has no adapter"
    return f"{found.provider} has no tier {tier}"


def _alternatives(found: Capabilities, tier: str) -> str:
    wanted = [name for name, other in table().items() if tier in (*other.tiers, *other.service_tiers)]
    words = f"here: --tier {' or '.join(found.tiers)}; {tier} is known of {', '.join(wanted)}"
    if found.provider == SELF_HOSTED:
        words += f'; if this server takes what one of them takes, say so: --set provider.like="{wanted[0]}"'
    return words
