"""Graders: how good a valid output is. Pure: no I/O, no clock, no chance without a seed."""

from llmbatch.grade.agreement import Agreement, Confusion, LabelScore, agreement
from llmbatch.grade.choose import graders
from llmbatch.grade.score import Grader, Score

__all__ = ["Agreement", "Confusion", "Grader", "LabelScore", "Score", "agreement", "graders"]
