"""Prices: exact dollars, every tier, and None for whatever is not known."""

import re
import time
import warnings
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from genai_prices import Usage as Tokens
from genai_prices import calc_price
from genai_prices.data_snapshot import DataSnapshot, find_provider_by_id, get_snapshot, set_custom_snapshot
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from llmbatch.prices import PriceTable, provider_of
from llmbatch.prices.hosts import HOSTS
from llmbatch.settings import PriceSettings
from llmbatch.types import Usage

OPENAI = PriceTable({}, "openai")
ANTHROPIC = PriceTable({}, "anthropic")


def own(**prices: str) -> PriceSettings:
    return PriceSettings.model_validate(prices)


@pytest.mark.parametrize(
    ("usage", "model", "dollars"),
    [
        (Usage(1_000_000, 1_000_000), "gpt-4o", "12.5"),
        (Usage(1_000, 100), "gpt-4o", "0.0035"),
        (Usage(1_000, 100, cached=400), "gpt-4o", "0.003"),  # 600 at 2.50, 400 at 1.25, 100 at 10
        (Usage(1_000, 100), "gpt-4o-mini", "0.00021"),
        (Usage(1_000, 100), "gpt-5-mini-2025-08-07", "0.00045"),
        (Usage(1_000, 100, cached=200, reasoning=64), "gpt-5-mini", "0.000405"),  # reasoning is output, once
        (Usage(272_000, 1_000), "gpt-5.5", "1.39"),  # 5 and 30 a million
        (Usage(272_001, 1_000), "gpt-5.5", "2.76501"),  # past the step every token costs more: 10 and 45
    ],
)
def test_exact_dollars(usage: Usage, model: str, dollars: str) -> None:
    assert OPENAI.cost(usage, model, None) == Decimal(dollars)


def test_cache_writes_cost_more_than_fresh_input_where_the_table_says_so() -> None:
    fresh = ANTHROPIC.cost(Usage(1_000, 0), "claude-sonnet-4-5", None)
    written = ANTHROPIC.cost(Usage(1_000, 0, cache_write=1_000), "claude-sonnet-4-5", None)
    assert fresh == Decimal("0.003")
    assert written == Decimal("0.00375")


def test_a_price_per_call_is_added() -> None:
    assert PriceTable({}, "perplexity").cost(Usage(1_000, 100), "sonar", None) == Decimal(
        "0.0131"
    )  # 12 a thousand calls


@pytest.mark.parametrize(
    ("tier", "dollars"),
    [
        (None, "0.00045"),
        ("standard", "0.00045"),
        ("default", "0.00045"),
        ("auto", "0.00045"),
        ("on_demand", "0.00045"),
        ("batch", "0.000225"),
        ("flex", "0.000225"),
        ("priority", "0.00081"),
    ],
)
def test_every_tier_has_its_own_price(tier: str | None, dollars: str) -> None:
    assert OPENAI.cost(Usage(1_000, 100), "gpt-5-mini", tier) == Decimal(dollars)


@pytest.mark.parametrize(
    ("provider", "model", "tier"),
    [
        ("openai", "gpt-5-mini", "scale"),  # no such price
        ("openai", "gpt-5-mini", "Flex"),  # names are exact
        ("openai", "gpt-4o", "flex"),  # the model is not offered so
        ("azure", "gpt-5-mini", "batch"),  # borrowed from OpenAI's list, whose tiers do not hold for Azure
        ("azure", "gpt-5-mini", "priority"),
    ],
)
def test_a_tier_that_the_table_does_not_price_is_unknown_not_standard(provider: str, model: str, tier: str) -> None:
    table = PriceTable({}, provider)
    assert table.cost(Usage(1_000, 100), model, None) is not None
    assert table.cost(Usage(1_000, 100), model, tier) is None
    assert table.worst_case(1_000, 100, model, tier) is None


TIERS = ("flex", "batch", "priority", "fast", "scale", "Batch", "batched", "service_tier", "", "default ", "standart")


@pytest.mark.parametrize("provider_id", sorted({*HOSTS.values(), "azure"}))
def test_no_tier_of_any_provider_is_charged_at_another_tiers_price(provider_id: str) -> None:
    """For every model and tier: the price that the table lists for exactly that tier, else none."""
    provider = find_provider_by_id(get_snapshot().providers, provider_id)
    assert provider is not None
    table, usage, now = PriceTable({}, provider_id), Usage(1_000_000, 1_000_000), datetime.now(UTC)
    for model in provider.models:
        found = provider.find_model(model.id)  # a name may lead to another entry, or to none
        for tier in TIERS:
            when = {"processing": "batch"} if tier == "batch" else {"service_tier": tier}
            listed = [
                v.prices
                for v in (found.price_variants if found else None) or ()
                if v.when == when
                and (v.constraint is None or v.constraint.active(now))
                and v.prices.input_mtok
                and v.prices.output_mtok
            ]
            cost = table.cost(usage, model.id, tier)
            assert (cost is None) == (not listed), (model.id, tier)
            if listed and cost is not None:
                expected = ModelPrice(input_mtok=listed[0].input_mtok, output_mtok=listed[0].output_mtok)
                tokens = Tokens(input_tokens=usage.input, output_tokens=usage.output)
                assert cost == expected.calc_price(tokens)["total_price"], (model.id, tier)


def test_the_table_still_names_tiers_as_they_are_looked_up() -> None:
    """A key that the table renames would make every tier unknown, and be seen here."""
    providers = {provider.id: provider for provider in get_snapshot().providers}
    for provider_id, when in (
        ("openai", {"processing": "batch"}),
        ("openai", {"service_tier": "flex"}),
        ("openai", {"service_tier": "priority"}),
        ("anthropic", {"processing": "batch"}),
        ("google", {"processing": "batch"}),
        ("google", {"service_tier": "flex"}),
        ("groq", {"processing": "batch"}),
        ("mistral", {"processing": "batch"}),
        ("x-ai", {"processing": "batch"}),
    ):
        models = providers[provider_id].models
        assert any(v.when == when for model in models for v in model.price_variants or ()), (provider_id, when)


def test_unknown_is_none_never_zero() -> None:
    assert OPENAI.cost(Usage(1_000, 100), "my-llama", None) is None
    assert OPENAI.cost(Usage(1_000, 100), None, None) is None
    assert OPENAI.cost(None, "gpt-4o", None) is None
    assert PriceTable({}, None).cost(Usage(1_000, 100), "gpt-4o", None) is None
    assert PriceTable({}, "openrouter").cost(Usage(1, 1), "agentica-org/deepcoder-14b-preview:free", None) is None


def test_parts_greater_than_their_whole_have_no_price() -> None:
    assert OPENAI.cost(Usage(10, 10, cached=11), "gpt-4o", None) is None
    assert OPENAI.cost(Usage(10, 10, reasoning=11), "gpt-4o", None) is None


def test_offline_models_cost_exactly_nothing() -> None:
    table = PriceTable({}, None)
    assert table.cost(Usage(1_000, 100), "offline/extractive-1", None) == Decimal(0)
    assert table.worst_case(1_000, 100, "offline/extractive-1", None) == Decimal(0)


def test_own_prices_win_over_the_table_and_hold_for_every_tier() -> None:
    table = PriceTable({"gpt-4o": own(input="1", output="2", cached="0.5")}, "openai")
    for tier in (None, "batch", "scale"):
        assert table.cost(Usage(1_000, 100, cached=400), "gpt-4o", tier) == Decimal("0.001")
    assert PriceTable({"m": own(input="1", output="2")}, None).cost(Usage(1_000, 0, cached=400), "m", None) == Decimal(
        "0.001"
    )


def test_own_prices_by_tier_and_by_kind_of_token() -> None:
    price = PriceSettings.model_validate(
        {"input": 10, "output": 20, "cached": 1, "cache_write": 12, "reasoning": 30, "batch": {"input": 5, "output": 8}}
    )
    table = PriceTable({"m": price}, None)
    used = Usage(1_000_000, 1_000_000, cached=200_000, cache_write=300_000, reasoning=400_000)
    assert table.cost(used, "m", "default") == Decimal("5") + Decimal("0.2") + Decimal("3.6") + Decimal(12) + Decimal(
        12
    )
    assert table.cost(used, "m", "batch") == Decimal(13)
    assert table.cost(used, "m", "flex") is None  # one tier is priced apart, so the others are not this price
    assert table.worst_case(1_000_000, 1_000_000, "m", None) == Decimal(42)
    assert table.worst_case(1_000_000, 1_000_000, "m", "batch") == Decimal(13)
    assert table.worst_case(1_000_000, 1_000_000, "m", "flex") is None


def test_a_tier_may_be_a_part_of_the_standard_price() -> None:
    price = PriceSettings.model_validate({"input": 10, "output": 20, "cached": 1, "flex": 0.5})
    table = PriceTable({"m": price}, None)
    assert table.cost(Usage(1_000_000, 1_000_000, cached=200_000), "m", "flex") == Decimal("14.1")
    assert table.cost(Usage(1_000_000, 0), "m", "batch") is None


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"input": 1},
        {"usd_per_hour": 2, "input": 1, "output": 1},
        {"usd_per_hour": 2, "batch": {"input": 1, "output": 1}},
        {"input": 1, "output": 1, "batch": {"input": 1}},
        {"input": 1, "output": 1, "btach": {"input": 1, "output": 1}},
        {"input": -1, "output": 1},
    ],
)
def test_half_a_price_is_an_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PriceSettings.model_validate(wrong)


def test_a_server_paid_by_the_hour_has_no_price_by_the_token() -> None:
    table = PriceTable({"m": PriceSettings.model_validate({"usd_per_hour": 2.5})}, None)
    assert table.usd_per_hour("m") == Decimal("2.5")
    assert table.usd_per_hour("other") is None
    assert table.cost(Usage(10, 10), "m", None) is None
    assert table.worst_case(10, 10, "m", None) is None


def test_an_own_price_counts_for_dated_snapshots_and_for_nothing_longer() -> None:
    table = PriceTable({"gpt-5": own(input="1", output="1")}, None)
    for name in ("gpt-5", "gpt-5-2025-08-07", "gpt-5-20250807", "gpt-5@20250807"):
        assert table.cost(Usage(1_000, 0), name, None) == Decimal("0.001"), name
    for name in ("gpt-5-mini", "gpt-5-mini-2025-08-07", "gpt-5.5", "gpt-5-1", "xgpt-5"):
        assert table.cost(Usage(1_000, 0), name, None) is None, name


def test_the_asked_model_prices_a_reply_under_another_name() -> None:
    table = PriceTable({"my-llama": own(input="1", output="1"), "big": own(input="5", output="5")}, None)
    assert table.cost(Usage(1_000, 0), "/models/llama.gguf", None, asked="my-llama") == Decimal("0.001")
    assert table.cost(Usage(1_000, 0), None, None, asked="my-llama") == Decimal("0.001")
    assert table.cost(Usage(1_000, 0), "big", None, asked="my-llama") == Decimal("0.005")
    assert OPENAI.cost(Usage(1_000, 0), None, None, asked="gpt-4o") == Decimal("0.0025")
    assert OPENAI.cost(Usage(1_000, 0), "who-knows", None, asked="gpt-4o") is None


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        (None, "openai"),
        ("https://api.openai.com/v1", "openai"),
        ("https://API.OpenAI.com:443/v1/", "openai"),
        ("https://my-resource.openai.azure.com/openai/v1", "azure"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("http://localhost:8000/v1", None),
        ("http://localhost:8000/api.openai.com", None),
        ("https://api.openai.com.example.org/v1", None),
        ("https://eu.api.openai.com/v1", None),
        ("https://api.openai.com@example.org/v1", None),
        ("", None),
    ],
)
def test_provider_of(url: str | None, provider: str | None) -> None:
    assert provider_of(url) == provider


def test_every_host_is_the_one_genai_prices_means() -> None:
    for host, provider in HOSTS.items():
        assert get_snapshot().find_provider(None, None, f"https://{host}/v1").id == provider


def test_worst_case() -> None:
    assert OPENAI.worst_case(1_000, 100, "gpt-4o", "default") == Decimal("0.0035")
    assert OPENAI.worst_case(272_000, 1_000, "gpt-5.5", "default") == Decimal("1.39")
    assert OPENAI.worst_case(272_001, 1_000, "gpt-5.5", "default") == Decimal("2.76501")
    assert OPENAI.worst_case(1_000, None, "gpt-4o", None) is None
    assert OPENAI.worst_case(1_000, 100, "my-llama", None) is None
    assert ANTHROPIC.worst_case(1_000, 0, "claude-sonnet-4-5", None) == Decimal(
        "0.00375"
    )  # all of it may be a cache write


def test_worst_case_allows_for_another_tier_than_asked_but_not_in_a_batch() -> None:
    standard, batch, priority = Decimal("0.00045"), Decimal("0.000225"), Decimal("0.00081")
    assert OPENAI.worst_case(1_000, 100, "gpt-5-mini", "flex") == standard
    assert OPENAI.worst_case(1_000, 100, "gpt-5-mini", "default") == standard
    assert OPENAI.worst_case(1_000, 100, "gpt-5-mini", "priority") == priority
    assert OPENAI.worst_case(1_000, 100, "gpt-5-mini", "batch") == batch
    for left_to_the_provider in (None, "auto"):  # a project may be set to priority
        assert OPENAI.worst_case(1_000, 100, "gpt-5-mini", left_to_the_provider) == priority


def test_worst_case_covers_every_hour_of_the_day() -> None:
    table = PriceTable({}, "deepseek")
    assert table.worst_case(1_000_000, 1_000_000, "deepseek-chat", None) == Decimal("1.37")  # by day; cheaper at night


def test_worst_case_covers_a_price_that_holds_from_a_date_to_come() -> None:
    now, later = (
        ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(1)),
        ModelPrice(input_mtok=Decimal(3), output_mtok=Decimal(3)),
    )
    info = ModelInfo(
        "m",
        ClauseEquals("m"),
        prices=[ConditionalPrice(prices=now), ConditionalPrice(StartDateConstraint(date(2999, 1, 1)), prices=later)],
    )
    set_custom_snapshot(DataSnapshot([Provider("p", "P", "https://p", models=[info])], from_auto_update=False))
    try:
        table = PriceTable({}, "p")
        assert table.cost(Usage(1_000_000, 0), "m", None) == Decimal(1)
        assert table.worst_case(1_000_000, 0, "m", None) == Decimal(3)
    finally:
        set_custom_snapshot(None)


def test_source() -> None:
    assert PriceTable({}, None).source() == "none"
    assert PriceTable({"m": own(input="1", output="1")}, None).source() == "pipeline [prices]"
    assert OPENAI.source().startswith("genai-prices ")
    assert re.fullmatch(r"genai-prices [\d.]+ \(openai\), newest price of 202\d-\d\d-\d\d", OPENAI.source())
    assert PriceTable({"m": own(input="1", output="1")}, None, origin="my.toml").source() == "my.toml"
    assert PriceTable({"m": own(input="1", output="1")}, "openai").source().startswith("pipeline [prices], genai-")


tokens = st.integers(0, 2_000_000)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    fresh, cached, written, spoken, reasoning = (draw(tokens) for _ in range(5))
    return Usage(fresh + cached + written, spoken + reasoning, cached, written, reasoning)


MODELS = st.sampled_from(
    [
        ("openai", "gpt-4o"),
        ("openai", "gpt-5-mini"),
        ("openai", "gpt-5.5"),
        ("azure", "gpt-4o"),
        ("anthropic", "claude-sonnet-4-5"),
        ("google", "gemini-2.5-pro"),
        ("deepseek", "deepseek-chat"),
        ("openrouter", "qwen/qwen3-coder-flash"),
        ("perplexity", "sonar-deep-research"),
        ("mistral", "mistral-large-latest"),
    ]
)


def plus(a: Usage, b: Usage) -> Usage:
    return Usage(
        a.input + b.input,
        a.output + b.output,
        a.cached + b.cached,
        a.cache_write + b.cache_write,
        a.reasoning + b.reasoning,
    )


@given(usages(), MODELS)
def test_agrees_with_genai_prices(usage: Usage, priced: tuple[str, str]) -> None:
    provider, model = priced
    counted = Tokens(
        input_tokens=usage.input,
        output_tokens=usage.output,
        cache_read_tokens=usage.cached,
        cache_write_tokens=usage.cache_write,
        output_reasoning_tokens=usage.reasoning,
    )
    expected = calc_price(counted, model, provider_id=provider).total_price
    assert PriceTable({}, provider).cost(usage, model, None) == expected


@given(usages(), usages(), st.sampled_from([None, "batch", "priority"]))
def test_additive_in_tokens(a: Usage, b: Usage, tier: str | None) -> None:
    parts = [OPENAI.cost(usage, "gpt-4o", tier) for usage in (a, b)]
    assert OPENAI.cost(plus(a, b), "gpt-4o", tier) == (parts[0] or 0) + (parts[1] or 0)


@given(usages(), usages(), MODELS)
def test_monotone_and_never_negative(a: Usage, b: Usage, priced: tuple[str, str]) -> None:
    table = PriceTable({}, priced[0])
    less, more = table.cost(a, priced[1], None), table.cost(plus(a, b), priced[1], None)
    assert less is not None
    assert more is not None
    assert 0 <= less <= more


@given(usages(), MODELS, st.integers(0, 1_000), st.sampled_from([None, "batch", "flex", "priority"]))
def test_no_call_within_its_bounds_costs_more_than_the_worst_case(
    usage: Usage, priced: tuple[str, str], slack: int, tier: str | None
) -> None:
    table = PriceTable({}, priced[0])
    worst = table.worst_case(usage.input + slack, usage.output + slack, priced[1], tier)
    cost = table.cost(usage, priced[1], tier)
    assert (worst is None) == (cost is None)
    assert worst is None or cost is None or cost <= worst
    free = table.worst_case(usage.input + slack, usage.output + slack, priced[1], None)
    assert free is not None
    assert worst is None or worst <= free  # the tier is the provider's choice


def test_a_known_price_is_arithmetic_only() -> None:
    usage = Usage(300_000, 100, cached=10, reasoning=5)
    OPENAI.cost(usage, "gpt-5.5", None)
    started = time.process_time()
    for _ in range(1_000):
        OPENAI.cost(usage, "gpt-5.5", None)
    assert (time.process_time() - started) / 1_000 < 30e-6  # a look-up takes over 70


def test_every_model_of_the_table_can_be_looked_up() -> None:
    """No entry may warn or fail when a reply names it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for provider in get_snapshot().providers:
            table = PriceTable({}, provider.id)
            for model in provider.models:
                cost = table.cost(Usage(1_000, 100, cached=10), model.id, "batch")
                assert cost is None or cost >= 0
