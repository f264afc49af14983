"""Text from outside, driven by hypothesis from the seeds of each target; inputs that once crashed stay in ``kept``."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import SEEDS, TARGETS

KEPT = Path(__file__).parent / "kept"
EXAMPLES = {10: pytest.mark.short, 300: pytest.mark.slow}


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Parts of the seeds and of nothing known, one after the other."""
    parts = []
    for _ in range(draw(st.integers(1, 5))):
        seed = draw(st.sampled_from(seeds))
        low = draw(st.integers(0, len(seed)))
        parts.append(seed[low : draw(st.integers(low, len(seed)))])
        parts.append(draw(st.binary(max_size=8) | st.text(max_size=8).map(lambda text: text.encode(errors="replace"))))
    return b"".join(parts)


@pytest.mark.parametrize(
    ("name", "examples"), [pytest.param(name, n, marks=mark) for name in TARGETS for n, mark in EXAMPLES.items()]
)
def test_no_text_from_outside_is_a_crash(name: str, examples: int) -> None:
    target = TARGETS[name]
    for seed in SEEDS[target]:
        target(seed)

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(mutated(SEEDS[target]))
    def crashes(data: bytes) -> None:
        target(data)

    crashes()


@pytest.mark.short
@pytest.mark.parametrize("path", sorted(KEPT.glob("*")), ids=lambda path: path.name)
def test_what_once_crashed_does_not(path: Path) -> None:
    TARGETS[path.name.partition(".")[0]](path.read_bytes())
