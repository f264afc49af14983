"""The short campaign of budgets; `python -m tests.campaign.budget` is the long one."""

import asyncio
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.campaign.budget import drawn, killed, spend


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32))
def test_the_provider_never_bills_more_than_the_budget(seed: int) -> None:
    """Random rows, concurrency, caps and faults, gone on with until nothing more fits."""
    with tempfile.TemporaryDirectory() as folder:
        spent = asyncio.run(spend(Path(folder), drawn(random.Random(seed)), seed))
    assert not spent.over, spent


@pytest.mark.slow
def test_not_over_kills_either(tmp_path: Path) -> None:
    cap, spent, kills = killed(tmp_path, random.Random("kills"))
    assert kills >= 1
    assert spent <= cap
