"""What providers accept: the facts are whole, and what a provider lacks is an error before anything is sent."""

import datetime
from pathlib import Path
from typing import Any

import pytest

from llmbatch.cli.make import usable
from llmbatch.errors import UsageError
from llmbatch.providers import capabilities
from llmbatch.providers.capabilities import Capabilities, facts, of, refuse, table
from llmbatch.settings import Settings

WHAT = {
    "structured_output", "service_tiers", "batches", "batch.requests", "batch.bytes", "batch.enqueued_tokens",
    "batch.window", "batch.retention_days", "max_tokens", "rate_headers",
}  # fmt: skip


def settings(**tables: Any) -> Settings:
    return Settings.model_validate({"request": {"model": "m"}, **tables})


def at(url: str | None, tier: str = "standard", **provider: Any) -> Settings:
    return settings(provider={"base_url": url, **provider}, limits={"tier": tier})


def test_every_fact_has_its_source_and_its_day() -> None:
    seen = set()
    for fact in facts():
        assert set(fact) == {"provider", "what", "value", "source", "date"}, fact
        assert fact["what"] in WHAT, fact
        assert len(fact["source"]) > 10
        assert isinstance(fact["date"], datetime.date)
        assert (fact["provider"], fact["what"]) not in seen, fact
        seen.add((fact["provider"], fact["what"]))
    assert list(table()) == [
        "openai", "azure", "anthropic", "gemini", "mistral", "groq", "together", "openrouter", "vllm", "ollama",
        "llama.cpp",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        (None, "openai"),
        ("https://api.openai.com/v1", "openai"),
        ("https://x.openai.azure.com", "azure"),
        ("https://api.anthropic.com/v1", "anthropic"),
        ("https://generativelanguage.googleapis.com/v1beta/openai", "gemini"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("http://127.0.0.1:8000/v1", "self-hosted"),
        ("https://api.example.com/v1", "self-hosted"),
    ],
)
def test_a_provider_is_known_by_its_host(url: str | None, provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("AZURE_OPENAI_ENDPOINT", raising=False)
    assert of(at(url)).provider == provider
    assert of(at(url, like="groq")).provider == "groq"


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UsageError, match="no provider 'opnai' is known") as caught:
        of(at(None, like="opnai"))
    assert "openai, azure" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("asked", "words", "hint"),
    [
        (at("http://127.0.0.1:1/v1", "flex"), "nothing is known of this server", 'provider.like="openai"'),
        (at("https://api.anthropic.com/v1", "flex"), "anthropic has no tier flex", "openai, azure, groq, openrouter"),
        (settings(provider={"kind": "offline"}, limits={"tier": "flex"}), "offline has no tier flex", "standard"),
        (
            settings(request={"model": "m", "params": {"service_tier": "flex"}}, limits={"tier": "flex"}),
            "which one",
            "leave service_tier out",
        ),
        (
            settings(
                request={"model": "m", "params": {"service_tier": "priority"}},
                provider={"base_url": "https://api.anthropic.com/v1"},
            ),
            "anthropic has no service tier 'priority'",
            "openai",
        ),
    ],
)
def test_what_a_provider_lacks_is_refused_with_alternatives(asked: Settings, words: str, hint: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        refuse(asked)
    assert hint in (caught.value.hint or "")


def test_what_it_has_is_not_refused() -> None:
    refuse(at(None, "flex"))
    refuse(at("http://127.0.0.1:1/v1", "flex", like="openai"))
    refuse(at("http://127.0.0.1:1/v1"))
    refuse(settings(request={"model": "m", "params": {"service_tier": "fastest"}}))  # the provider's to judge


def test_a_pipeline_is_refused_before_its_input_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "label"
    folder.mkdir()
    (folder / "pipeline.toml").write_text('request.model = "m"\nlimits.tier = "flex"\nprovider.kind = "offline"\n')
    (folder / "prompt.j2").write_text("x")
    (folder / "schema.json").write_text('{"type": "object"}')
    with pytest.raises(UsageError, match="no tier flex"):
        usable(folder, ())


def test_batches_need_an_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    assert table()["openai"].tiers == ("standard", "flex", "batch", "auto")
    assert table()["groq"].tiers == ("standard", "flex", "batch", "auto")
    assert "batch" not in table()["mistral"].tiers
    monkeypatch.setattr(capabilities, "of", lambda _: Capabilities("mistral", batches="own"))
    with pytest.raises(UsageError, match="batches of its own kind"):
        refuse(at(None).model_copy(update={"limits": at(None).limits.model_copy(update={"tier": "batch"})}))


def test_the_docs_show_the_facts() -> None:
    """The table in docs/tiers.md is made of the facts."""
    from tests.pages import ROOT
    from tests.pages import table as shown

    rows = {name.strip("`"): cells for name, *cells in shown(ROOT / "docs" / "tiers.md", "Providers")}
    assert rows == {known.provider: cells(known) for known in table().values()}


def cells(known: Capabilities) -> list[str]:
    """A provider's row in docs/tiers.md."""
    forms = None if known.structured_output is None else ", ".join(known.structured_output) or "words only"
    limits = [
        f"{known.batch_requests:,} requests" if known.batch_requests else "",
        f"{known.batch_bytes / 1e6:,.0f} MB" if known.batch_bytes else "",
        f"{known.batch_enqueued_tokens / 1e9:,.0f}B tokens" if known.batch_enqueued_tokens else "",
        known.batch_window or "",
        f"kept {known.batch_retention_days} days" if known.batch_retention_days else "",
    ]
    kind = {"files": "yes", "own": "no adapter", "none": "none"}[known.batches]
    return [
        " or ".join(known.tiers),
        ", ".join(known.service_tiers) or "-",
        forms or "found out",
        ", ".join([kind, *filter(None, limits)]),
        known.max_tokens or "-",
        known.rate_headers or "-",
    ]
