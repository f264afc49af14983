"""The short campaign of kills; `python -m tests.campaign.kill` is the long one."""

from pathlib import Path

from tests.campaign.kill import campaign


def test_killed_at_random_moments_a_night_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    broken = campaign(tmp_path, rows=1_200, kills=3, seed=7)
    assert broken.same_bytes
    assert broken.sent_after_all == 0
    assert broken.paid_twice <= broken.most_allowed
