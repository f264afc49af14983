"""Graders: how good a valid output is, and whether tonight is as good as the nights before.

Pure: no I/O, no clock, no chance without a seed.
"""

from llmbatch.grade.agreement import Agreement, Confusion, LabelScore, agreement
from llmbatch.grade.canary import Canary, canary
from llmbatch.grade.choose import graders
from llmbatch.grade.compare import Drift, Past, compare
from llmbatch.grade.gather import Gathered, Rates, closed_lists, place
from llmbatch.grade.judged import Judged
from llmbatch.grade.judging import LEAST_LABELS, Asked, judged
from llmbatch.grade.move import Move
from llmbatch.grade.opinion import Opinion, opinion, schema_of
from llmbatch.grade.profile import Profile, Signature
from llmbatch.grade.quality import Quality
from llmbatch.grade.score import Grader, Score, label_of, text_of
from llmbatch.grade.scores import Graded, Scores, counted, interval_of
from llmbatch.grade.stats import Interval

__all__ = [
    "LEAST_LABELS",
    "Agreement",
    "Asked",
    "Canary",
    "Confusion",
    "Drift",
    "Gathered",
    "Graded",
    "Grader",
    "Interval",
    "Judged",
    "LabelScore",
    "Move",
    "Opinion",
    "Past",
    "Profile",
    "Quality",
    "Rates",
    "Score",
    "Scores",
    "Signature",
    "agreement",
    "canary",
    "closed_lists",
    "compare",
    "counted",
    "graders",
    "interval_of",
    "judged",
    "label_of",
    "opinion",
    "place",
    "schema_of",
    "text_of",
]
