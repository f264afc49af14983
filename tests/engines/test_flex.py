"""Tier flex: asked for, timed and priced as what it is; without capacity it waits, or falls back."""

from pathlib import Path

import pytest

from llmbatch.errors import RateLimited, Unavailable
from llmbatch.providers.openai import decide
from llmbatch.simulator import Fault, Scenario, Simulator
from tests.engines.conftest import Nights, rows

PRICES = {"m-1": {"input": 1.0, "output": 10.0, "flex": 0.5}}
TEXTS = [f"Ticket {n}: the invoice is wrong." for n in range(12)]


def nights(folder: Path, server: Simulator, **limits: object) -> Nights:
    return Nights(folder, server.base_url, limits={"tier": "flex", **limits}, prices=PRICES)


async def test_answers_are_priced_by_the_tier_they_name(tmp_path: Path) -> None:
    async with Simulator(Scenario()) as server:
        flex = await nights(tmp_path, server).run(rows(TEXTS))
        assert flex.tally.by_tier.keys() == {"flex"}
        (tmp_path / "l.duckdb").unlink()
        (tmp_path / "l.duckdb.seq").unlink()
        standard = await Nights(tmp_path, server.base_url, prices=PRICES).run(rows(TEXTS))
    assert standard.tally.by_tier.keys() == {"standard"}
    assert flex.tally.cost_usd * 2 == standard.tally.cost_usd > 0


async def test_the_tier_is_not_in_the_key(tmp_path: Path) -> None:
    async with Simulator(Scenario()) as server:
        await nights(tmp_path, server).run(rows(TEXTS))
        again = await Nights(tmp_path, server.base_url, prices=PRICES).run(rows(TEXTS))
        assert again.statuses() == {"reused": len(TEXTS)}
        assert server.account.total.requests == len(TEXTS)


async def test_an_answer_at_another_tier_costs_that_tier(tmp_path: Path) -> None:
    async with Simulator(Scenario(fault=(Fault(kind="other_tier", tier="default"),))) as server:
        night = await nights(tmp_path, server).run(rows(TEXTS))
    assert night.tally.by_tier.keys() == {"standard"}


async def test_without_capacity_a_row_falls_back_and_uses_no_attempt(tmp_path: Path) -> None:
    scenario = Scenario(fault=(Fault(kind="flex_unavailable", share=0.5),))
    async with Simulator(scenario) as server:
        night = await nights(tmp_path, server, flex_fallback=True, max_attempts=1).run(rows(TEXTS))
        refused = server.account.by_fault["flex_unavailable"]
    assert night.statuses() == {"done": len(TEXTS)}
    assert night.tally.by_tier["standard"].attempts == refused.requests > 0
    assert night.tally.by_tier["flex"].attempts == len(TEXTS) - refused.requests > 0
    assert (refused.paid, night.tally.sent) == (0, len(TEXTS))
    assert "tier flex had no capacity" in " ".join(night.tally.notes)


async def test_without_a_fallback_it_waits_and_uses_no_attempt(tmp_path: Path) -> None:
    scenario = Scenario(fault=(Fault(kind="flex_unavailable", times=1, retry_after_s=0.05, retry_after_form="ms"),))
    async with Simulator(scenario) as server:
        night = await nights(tmp_path, server, max_attempts=1).run(rows(TEXTS[:3]))
    assert night.statuses() == {"done": 3}
    assert night.tally.by_tier.keys() == {"flex"}
    assert night.tally.attempts["rate_limited"] == 3


def test_its_own_time_counts(tmp_path: Path) -> None:
    limits = (
        Nights(tmp_path, "http://127.0.0.1:1/v1", limits={"tier": "flex", "timeout_s": 1}).pipeline().settings.limits
    )
    assert limits.attempt_s == 900
    assert limits.model_copy(update={"tier": "standard"}).attempt_s == 1


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (429, {"error": {"code": "resource_unavailable", "message": "no capacity"}}, Unavailable),
        (429, {"error": {"message": "429 Resource Unavailable"}}, Unavailable),
        (498, {"error": {"code": "capacity_exceeded", "message": "flex"}}, Unavailable),
        (429, {"error": {"code": "rate_limit_exceeded", "message": "slow down"}}, RateLimited),
    ],
)
def test_what_a_refusal_means(status: int, error: object, kind: type) -> None:
    assert decide(status, {}, error)[0] is kind
