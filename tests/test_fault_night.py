"""The short night of every fault; `python -m tests.campaign.faults` is the long one."""

from pathlib import Path

from tests.campaign.fault_cases import QUICK
from tests.campaign.faults import night


def test_every_fault_in_one_night_and_the_bill_adds_up(tmp_path: Path) -> None:
    came = night(tmp_path, QUICK, rows=600, each=1, timeout_s=3)
    assert came.ended["done"] > 400
    assert len(came.ended) == 13, "done, and 12 classes of failure"
