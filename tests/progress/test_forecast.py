"""The time left and the dollars to come are what can be kept up, whatever a burst looked like."""

from decimal import Decimal

import pytest

from llmbatch.limits import LimitState
from llmbatch.progress.forecast import Look, Speed, Used, eta_s, projected_usd

FREE = LimitState(32, 0.0, "closed")


def speed(*looks: tuple[float, int, int]) -> Speed:
    """From (seconds, settled rows, asked rows)."""
    measured = Speed()
    for look in looks:
        measured.add(Look(*look))
    return measured


def steady(rows_per_s: int, seconds: int = 30, asked: bool = True) -> Speed:
    return speed(*((float(n), n * rows_per_s, n * rows_per_s if asked else 0) for n in range(seconds + 1)))


def test_a_steady_run_ends_when_its_rows_are_through() -> None:
    assert eta_s(1_000, steady(10), FREE, Used(300, 300, 30_000)) == 100
    assert eta_s(1_000, steady(10), None, Used(300, 300, 30_000)) == 100


def test_a_burst_is_not_taken_for_the_speed_of_the_night() -> None:
    """100 rows/s out of a full bucket, where 600 requests and 60,000 tokens a minute are let through."""
    burst, used = steady(100, 6), Used(600, 630, 72_000)
    requests = LimitState(32, 0.0, "closed", requests_per_minute=600)
    assert eta_s(1_000, burst, requests, used) == pytest.approx(1_000 / (600 / 60 * 600 / 630))
    both = LimitState(32, 0.0, "closed", requests_per_minute=600, tokens_per_minute=60_000)
    assert eta_s(1_000, burst, both, used) == pytest.approx(1_000 / (60_000 / 60 / 120))


def test_reused_rows_count_for_what_they_cost_the_limits() -> None:
    half = speed(*((float(n), 20 * n, 10 * n) for n in range(31)))
    limits = LimitState(32, 0.0, "closed", requests_per_minute=300)
    assert eta_s(1_000, half, limits, Used(300, 300, 0)) == pytest.approx(1_000 / 10)


def test_a_flood_of_reused_rows_at_the_start_is_over_when_it_is_over() -> None:
    looks = [(0.0, 0, 0), (1.0, 50_000, 0), *((1.0 + n, 50_000 + 5 * n, 5 * n) for n in range(1, 12))]
    assert eta_s(1_000, speed(*looks), FREE, Used(55, 55, 0)) == pytest.approx(200, rel=0.2)


def test_the_seconds_after_a_pause_do_not_make_the_night_longer() -> None:
    looks = [Look(float(n), 100 * min(n, 20), 100 * min(n, 20), held=20 < n < 28) for n in range(31)]
    measured = Speed()
    for look in looks:
        measured.add(look)
    measured.add(Look(31.0, 2_010, 2_010))
    assert eta_s(1_000, measured, FREE, Used(300, 300, 0)) == pytest.approx(1_000 / 65, rel=0.05)


def test_a_pause_is_added_and_an_outage_has_no_end_that_is_known() -> None:
    paused = LimitState(32, 20.0, "closed")
    assert eta_s(1_000, steady(10), paused, Used(300, 300, 0)) == 120
    for breaker in ("open", "probing"):
        assert eta_s(1_000, steady(10), LimitState(32, 0.0, breaker), Used(300, 300, 0)) is None
    assert eta_s(0, steady(10), LimitState(32, 9.0, "open"), Used(300, 300, 0)) == 0


def test_dollars_to_come_are_those_of_asked_rows() -> None:
    rows = {"total": 1_000, "done": 90, "reused": 400, "failed": 10, "skipped": 0, "pending": 500}
    assert projected_usd(rows, Decimal(2), 1.0) == 12
    assert projected_usd(rows, Decimal(2), 0.5) == 7
    assert projected_usd(rows, None, 1.0) is None
    assert projected_usd({**rows, "done": 2, "failed": 0}, Decimal(2), 1.0) is None
    assert projected_usd({**rows, "pending": 0}, Decimal(2), 1.0) == 2
