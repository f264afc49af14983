"""Which tests wait for `make test-all`: those that start hundreds of processes, fill disks or sweep inputs.

Where such tests stand, those that `make test` runs all the same are marked ``short``: at least one of every promise.
"""

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("busy", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("busy")

_SLOW = ("faults", "fuzz", "security", "cli/test_disk.py")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark them slow by where they stand."""
    here = Path(__file__).parent
    for item in items:
        stands_among_slow = item.path.relative_to(here).as_posix().startswith(_SLOW)
        if stands_among_slow and not item.get_closest_marker("short"):
            item.add_marker(pytest.mark.slow)
