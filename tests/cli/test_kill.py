"""The short campaign of kills; `python -m tests.campaign.kill` is the long one."""

from pathlib import Path

from tests.campaign.kill import broken, unbroken
from tests.campaign.moments import answering, checking, committing, reporting, writing
from tests.campaign.nights import CONCURRENCY


def test_killed_at_random_moments_a_night_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    night = unbroken(tmp_path, seed=7, count=400)
    moments = [answering, checking, committing, writing, reporting]
    kills = broken(night, night.before.copy(tmp_path / "night"), moments, seed=7, more_runs=1)
    assert [kill.moment for kill in kills][:4] == moments[:4]
    assert all(kill.in_flight <= CONCURRENCY for kill in kills)
    assert all(kill.oldest_ms < 1_000 for kill in kills)  # 100 on a machine that has nothing else to do
    assert {kill.paid_twice for kill in kills if kill.moment in (checking, writing, reporting)} == {0}
