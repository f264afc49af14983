import random

import pytest

from llmbatch.limits.cooldown import CoolDown


@pytest.fixture
def cooldown() -> CoolDown:
    return CoolDown(random.Random(1))


def test_what_the_provider_names_is_obeyed_with_a_little_more(cooldown: CoolDown) -> None:
    cooldown.limited(0.0, 20.0, 1.0)
    assert 20.0 <= cooldown.wait(1.0) <= 22.0
    assert cooldown.wait(23.0) == 0


def test_a_burst_of_429s_is_one_episode(cooldown: CoolDown) -> None:
    for n in range(50):
        cooldown.limited(0.0, None, 1.0 + n / 100)
    assert cooldown.wait(1.0) <= 1.0
    assert not cooldown.doubtful


def test_a_later_429_of_the_same_burst_can_only_make_the_pause_longer(cooldown: CoolDown) -> None:
    cooldown.limited(0.0, 10.0, 1.0)
    cooldown.limited(0.0, 2.0, 1.1)
    assert cooldown.wait(1.1) >= 9.9
    cooldown.limited(0.0, 30.0, 1.2)
    assert cooldown.wait(1.2) >= 30.0


@pytest.mark.parametrize("retry_after", [None, 0.1])
def test_pauses_grow_while_nothing_is_answered(cooldown: CoolDown, retry_after: float | None) -> None:
    now, pauses = 0.0, []
    for _ in range(8):
        cooldown.limited(now, retry_after, now)
        pauses.append(cooldown.wait(now))
        now += pauses[-1]
    assert pauses[0] <= 1.0
    assert all(0.75 * own <= pause <= own for own, pause in zip((2, 4, 8, 8, 8, 8, 8), pauses[1:], strict=True))
    assert sum(pauses) >= 30


def test_an_answer_ends_the_growth(cooldown: CoolDown) -> None:
    cooldown.limited(0.0, None, 0.0)
    cooldown.limited(2.0, None, 2.0)
    assert cooldown.doubtful
    cooldown.answered(10.0)
    cooldown.limited(11.0, None, 11.0)
    assert cooldown.wait(11.0) <= 1.0


def admissions(cooldown: CoolDown, slots: int, start: float, end: float) -> int:
    now, count = start, 0
    while (now := now + cooldown.wait(now)) < end and count < slots:
        cooldown.admitted(slots, now)
        count += 1
    return count


def test_after_a_pause_the_slots_fill_over_a_second(cooldown: CoolDown) -> None:
    cooldown.limited(0.0, 5.0, 0.0)
    start = cooldown.wait(0.0)
    assert 9 <= admissions(cooldown, 100, start, start + 0.1) <= 11


def test_in_doubt_calls_go_one_a_second(cooldown: CoolDown) -> None:
    cooldown.limited(0.0, None, 0.0)
    cooldown.limited(2.0, None, 2.0)
    start = 2.0 + cooldown.wait(2.0)
    assert admissions(cooldown, 100, start, start + 9.5) == 10


def test_without_a_pause_nothing_waits(cooldown: CoolDown) -> None:
    assert admissions(cooldown, 100, 50.0, 50.0001) == 100
