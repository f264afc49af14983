"""What answers requests: one file a provider, one for the wrappers around them (wrap.py)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import assert_never

from llmbatch.settings import Settings
from llmbatch.types import Provider


def make(settings: Settings, note: Callable[[str], None]) -> Provider:
    """The provider that a pipeline names. Raises UsageError when it cannot be used as configured."""
    match settings.provider.kind:
        case "openai":
            from llmbatch.providers.capabilities import of
            from llmbatch.providers.openai import OpenAI

            forms = of(settings).structured_output
            return OpenAI(settings.provider, timeout_s=settings.limits.attempt_s, note=note, forms=forms)
        case "embeddings":
            from llmbatch.providers.openai import Embeddings

            return Embeddings(settings.provider, timeout_s=settings.limits.attempt_s)
        case "offline":
            from llmbatch.providers.offline import Offline

            return Offline()
        case kind:
            assert_never(kind)


def address(settings: Settings) -> str | None:
    """The base URL that requests go to, as far as it is configured; None for OpenAI's own and for offline."""
    if settings.provider.kind == "offline":
        return None
    azure = os.environ.get("AZURE_OPENAI_ENDPOINT") if settings.provider.base_url is None else None
    return settings.provider.base_url or azure or os.environ.get("OPENAI_BASE_URL") or None
