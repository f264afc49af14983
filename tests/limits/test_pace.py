"""The pace on a server that limits by 429 alone, and on one whose 429s have another cause."""

import random

from llmbatch.limits.pace import Pace


def drive(pace: Pace, limit: float, *, seconds: float, start: float = 0.0, eager: float = 40.0) -> tuple[float, float]:
    """Send at the pace (or eagerly) to a bucket of ``limit`` a second; answers a second, and the part refused."""
    now, level, answered, refused = start, limit, 0, 0
    while now < start + seconds:
        step = 1 / min(pace.per_s or eager, eager)
        now += step
        level = min(limit, level + step * limit)
        pace.admitted()
        if level >= 1:
            level -= 1
            answered += 1
            pace.answered(now, now)
        else:
            refused += 1
            pace.limited(now, 0.5, now)
            now += 0.5
            level = min(limit, level + 0.5 * limit)
    return answered / seconds, refused / (answered + refused)


def test_finds_the_limit_and_keeps_it() -> None:
    pace = Pace()
    drive(pace, 10, seconds=60)
    rate, refused = drive(pace, 10, seconds=600, start=60)
    assert rate >= 9.5
    assert refused < 0.02


def test_follows_a_limit_that_is_raised() -> None:
    pace = Pace()
    drive(pace, 5, seconds=60)
    drive(pace, 20, seconds=240, start=60)
    rate, _ = drive(pace, 20, seconds=200, start=300)
    assert rate >= 18


def test_follows_a_limit_that_is_lowered() -> None:
    pace = Pace()
    drive(pace, 20, seconds=60)
    drive(pace, 10, seconds=120, start=60)
    rate, refused = drive(pace, 10, seconds=300, start=180)
    assert rate >= 9
    assert refused < 0.03


def test_lets_go_of_a_pace_that_does_not_help() -> None:
    rng, pace, now, paced = random.Random(3), Pace(), 0.0, 0.0
    while now < 600:
        step = 1 / min(pace.per_s or 40.0, 40.0)
        now += step
        paced += step * (pace.per_s is not None)
        pace.admitted()
        if rng.random() < 0.05:
            pace.limited(now, 0.5, now)
        else:
            pace.answered(now, now)
    assert paced < 0.25 * now


def test_a_few_429s_set_no_pace() -> None:
    pace = Pace()
    for n in range(10_000):
        now = n / 50
        pace.admitted()
        if n % 200 == 0:
            pace.limited(now, 0.5, now)
        else:
            pace.answered(now, now)
    assert pace.per_s is None


def test_a_total_refusal_is_no_rate() -> None:
    pace = Pace()
    for n in range(500):
        pace.admitted()
        pace.limited(n / 10, 0.5, n / 10)
    assert pace.per_s is None


def test_a_long_pause_that_the_provider_names_is_no_rate() -> None:
    pace = Pace()
    for n in range(300):
        pace.admitted()
        pace.answered(n / 10, n / 10)
    assert not pace.limited(30.0, 40.0, 30.0)
    for n in range(300):
        pace.admitted()
        pace.answered(70 + n / 10, 70 + n / 10)
    assert pace.per_s is None
