import sys
import threading
from collections.abc import Iterator
from decimal import Decimal

import pytest

from llmbatch.progress import Gauges, Meter
from llmbatch.tally import ModelSum, Tally
from llmbatch.types import Status
from tests.progress.runs import Run


def test_rows_add_up_whatever_has_ended() -> None:
    run = Run(100)
    for number, status in enumerate(Status, 1):
        run.after(1, number, status)
    rows = dict(run.meter.snapshot().rows)
    assert rows == {"total": 100, "done": 1, "reused": 2, "failed": 3, "skipped": 4, "pending": 90}
    assert rows.pop("total") == sum(rows.values())


def test_speed_and_eta_are_unknown_at_first() -> None:
    run = Run(100)
    run.after(1, 10)
    assert (run.meter.snapshot().rows_per_s, run.meter.snapshot().eta_s) == (None, None)
    run.after(3, 10)
    assert (run.meter.snapshot().rows_per_s, run.meter.snapshot().eta_s) == (5, None)
    run.after(4, 20)
    assert (run.meter.snapshot().rows_per_s, run.meter.snapshot().eta_s) == (5, 12)


def test_speed_is_that_of_the_last_half_minute() -> None:
    run = Run(100_000)
    run.after(1, 60_000, Status.REUSED)
    run.meter.snapshot()
    for _ in range(40):
        run.after(1, 10)
        now = run.meter.snapshot()
    assert now.rows_per_s == 10
    assert now.eta_s == pytest.approx((100_000 - 60_400) / 10)


def test_eta_is_stable_when_rows_come_in_bursts() -> None:
    run, seen = Run(20_000), []
    for second in range(200):
        run.after(1, 50 if second % 5 == 0 else 0)
        now = run.meter.snapshot()
        if second > 40:
            assert now.eta_s is not None
            seen.append(now.eta_s + second)  # the moment of the end should stand still
    assert max(seen) / min(seen) < 1.25


def test_no_eta_while_nothing_ends_and_none_left_at_the_end() -> None:
    run = Run(10)
    for _ in range(40):
        run.after(1)
        now = run.meter.snapshot()
    assert (now.rows_per_s, now.eta_s) == (0, None)
    run.after(1, 10)
    assert run.meter.snapshot().eta_s == 0


def test_looking_twice_at_one_moment_is_harmless() -> None:
    run = Run(10)
    assert run.meter.snapshot() == run.meter.snapshot()


def test_tokens_and_dollars() -> None:
    run = Run(10)
    assert run.meter.snapshot().cost_usd == 0
    run.paid("0.5", attempts=3, unpriced=1)
    run.tally.by_model["n"] = ModelSum(attempts=1, input=1, cost_usd=Decimal("0.25"))
    now = run.meter.snapshot()
    assert now.tokens == {"input": 1_200_001, "cached": 5, "output": 80_000, "reasoning": 7}
    assert (now.cost_usd, now.unpriced) == (Decimal("0.75"), 1)
    assert now.attempts == {"sent": 3, "valid": 0, "invalid": 0, "answered": 3}


def test_dollars_are_unknown_when_nothing_has_a_price() -> None:
    run = Run(10)
    run.paid("0", attempts=3, unpriced=3)
    assert run.meter.snapshot().cost_usd is None


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def test_a_tally_may_be_written_meanwhile(frequent_switches: None) -> None:
    tally, stop = Tally(), threading.Event()
    tally.planned(10**9)

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            tally.by_model[f"m{number % 500}"] = ModelSum(attempts=1)
            tally.by_model.pop(f"m{(number - 7) % 500}", None)
            tally.rows[Status.DONE] += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        meter = Meter(tally, Gauges(lambda: 1))
        snapshots = [meter.snapshot() for _ in range(300)]
    finally:
        stop.set()
        writer.join()
    assert all(now.rows["done"] + now.rows["pending"] == 10**9 for now in snapshots)
