"""The short sweep of damaged logs; `python -m tests.campaign.wal` is the long one."""

from pathlib import Path

from tests.campaign.wal import sweep


def test_a_damaged_log_never_loses_attempts_in_silence(tmp_path: Path) -> None:
    seen = sweep(tmp_path, attempts=60, cuts=30, flips=30, zeros=10, seed=7, every=8)
    assert seen.ends.total() == 70
    assert seen.silent == []
    assert seen.changed == []
    assert seen.miscounted == []
    assert seen.ends["cut: DuckDB silent, told by the record"] == 30  # a cut is what DuckDB never speaks of
    assert seen.ends["flip: refused by DuckDB"] > 18
