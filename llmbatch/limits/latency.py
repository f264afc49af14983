"""The latency of a server without a queue, as a yardstick. Pure."""

from __future__ import annotations

from math import log
from statistics import fmean, median

Sample = tuple[float, int]  #: latency in seconds, output tokens (0 where unknown)


class Baseline:
    """``latency = fixed + per_token * output tokens``, so that rows with longer answers do not look like load."""

    def __init__(self) -> None:
        self._fixed = 0.0
        self._per_token = 0.0
        self.spread = 0.0  #: standard deviation of the logarithm, as its median tells it

    @property
    def known(self) -> bool:
        """Whether anything was fitted yet."""
        return self._fixed + self._per_token > 0

    def fit(self, samples: list[Sample]) -> None:
        """Take these samples as those of a server without a queue: least squares, then the median to 1."""
        latencies, tokens = [s[0] for s in samples], [s[1] for s in samples]
        mean_latency, mean_tokens = fmean(latencies), fmean(tokens)
        variance = sum((t - mean_tokens) ** 2 for t in tokens)
        covariance = sum((latency - mean_latency) * (t - mean_tokens) for latency, t in samples)
        # A line through (0, 0) or a level one at the extremes: neither part may be negative.
        steepest = mean_latency / mean_tokens if mean_tokens else 0.0
        self._per_token = min(max(covariance / variance, 0.0), steepest) if variance else 0.0
        self._fixed = max(mean_latency - self._per_token * mean_tokens, 1e-9)
        self.scale(self.ratio(samples))
        self.spread = 1.48 * median(abs(log(ratio)) for ratio in self._ratios(samples))

    def ratio(self, samples: list[Sample]) -> float:
        """How many times slower than the yardstick the median of these samples is."""
        return median(self._ratios(samples))

    def _ratios(self, samples: list[Sample]) -> list[float]:
        return [latency / (self._fixed + self._per_token * tokens) for latency, tokens in samples]

    def scale(self, factor: float) -> None:
        """Make the yardstick longer or shorter."""
        self._fixed = max(self._fixed * factor, 1e-9)
        self._per_token *= factor
