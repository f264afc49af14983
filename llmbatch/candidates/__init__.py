"""Candidates for a pipeline: models and prompts, asked the same rows; which is the cheapest that is good enough.

Pure: no I/O, no clock, no chance without a seed.
"""

from llmbatch.candidates.decide import Bid, Certificate, best, cheapest
from llmbatch.candidates.draw import Drawing, halves
from llmbatch.candidates.measure import Cost, Tried, measured, on_the_front, price, tried, used
from llmbatch.candidates.model import Candidate, Comparison, Goal

__all__ = [
    "Bid",
    "Candidate",
    "Certificate",
    "Comparison",
    "Cost",
    "Drawing",
    "Goal",
    "Tried",
    "best",
    "cheapest",
    "halves",
    "measured",
    "on_the_front",
    "price",
    "tried",
    "used",
]
