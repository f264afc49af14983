"""What a call costs: usage, model and tier -> dollars, or None when no price is known.

A pipeline's own ``[prices.MODEL]`` come first, then the table of genai-prices for the provider that is really asked.
Unknown is None, never 0. genai-prices takes 0.14 s to import, so it is imported when the first price is looked up.
"""

from llmbatch.prices.hosts import provider_of
from llmbatch.prices.table import PriceTable

__all__ = ["PriceTable", "provider_of"]
