"""Whose prices hold for a server: by its whole host name."""

from __future__ import annotations

from urllib.parse import urlsplit

#: genai-prices ids by host
HOSTS = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "google",
    "api.mistral.ai": "mistral",
    "api.groq.com": "groq",
    "api.together.xyz": "together",
    "openrouter.ai": "openrouter",
    "api.x.ai": "x-ai",
    "api.deepseek.com": "deepseek",
    "api.fireworks.ai": "fireworks",
    "api.cerebras.ai": "cerebras",
    "api.perplexity.ai": "perplexity",
    "api.novita.ai": "novita",
    "api.moonshot.ai": "moonshotai",
    "api.cohere.com": "cohere",
    "api.z.ai": "zai",
}
_AZURE = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")


def provider_of(base_url: str | None) -> str | None:
    """The genai-prices id of the provider behind ``base_url``; None for any other server.

    Whole host names count, so a server of one's own that calls a model gpt-4o is not priced as OpenAI, nor is
    OpenAI's regional host, whose prices differ. ``base_url`` None is the OpenAI SDK's default, OpenAI itself.
    """
    if base_url is None:
        return "openai"
    host = urlsplit(base_url if "//" in base_url else f"//{base_url}").hostname or ""
    return "azure" if host.endswith(_AZURE) else HOSTS.get(host)
