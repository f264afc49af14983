"""Values counted in logarithmic buckets."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

_BUCKETS_PER_OCTAVE = 16  #: neighbours differ by 4.4 %, so a quantile is within 2.2 %


@dataclass(slots=True)
class Histogram:
    """Positive values in logarithmic buckets; quantiles within 2.2 %."""

    counts: Counter[int] = field(default_factory=Counter)
    total: int = 0

    def add(self, value: float) -> None:
        """Count one value (seconds, milliseconds: the caller's unit)."""
        self.counts[round(math.log2(max(value, 1e-6)) * _BUCKETS_PER_OCTAVE)] += 1
        self.total += 1

    def quantile(self, q: float) -> float | None:
        """The value below which a share ``q`` lies; None when empty."""
        seen, rank = 0, q * self.total
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= rank:
                return float(2 ** (bucket / _BUCKETS_PER_OCTAVE))
        return None
