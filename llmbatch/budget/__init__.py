"""The spending cap: every call reserves its worst case before it is sent and settles on what came back.

What a run may have spent is stored before it is spent (a draw), so that a run that dies leaves a sum that later ones
can count, calls in flight included.
"""

from llmbatch.budget.caps import Cap, Caps, day_of, month_of
from llmbatch.budget.hours import HourMeter
from llmbatch.budget.reserve import Budget

__all__ = ["Budget", "Cap", "Caps", "HourMeter", "day_of", "month_of"]
