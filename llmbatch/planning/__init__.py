"""What a run will probably use and cost: from the requests, what earlier runs used, and prices. Pure.

Rule of thumb where nothing is known, measurement where something is; every plan says which.
"""

from llmbatch.planning.ladder import climb_from, planned
from llmbatch.planning.learned import Learned, learn
from llmbatch.planning.model import Amount, Plan, Rows, Time, to_json, total
from llmbatch.planning.price import Costs, costs
from llmbatch.planning.sizes import Sizes
from llmbatch.planning.words import text

__all__ = [
    "Amount",
    "Costs",
    "Learned",
    "Plan",
    "Rows",
    "Sizes",
    "Time",
    "climb_from",
    "costs",
    "learn",
    "planned",
    "text",
    "to_json",
    "total",
]
