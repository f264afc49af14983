"""The short sweep over the writes of the log; `python -m tests.campaign.writes` is the whole one."""

import shutil
from pathlib import Path

import pytest

from tests.campaign.writes import FAULTS, sweep


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_stopped_at_any_write_or_sync_of_the_log_nothing_durable_is_lost(tmp_path: Path, name: str) -> None:
    assert sweep(tmp_path, name, 20, first=1, step=2) >= 2
