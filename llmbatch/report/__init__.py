"""The report of a run: built from its sums, rendered as text, JSON and HTML. It returns values and writes nothing."""

from llmbatch.report.bill import per_1000
from llmbatch.report.build import RunFacts, build, moment
from llmbatch.report.details import Decision, Judging, PastRun, Schedule
from llmbatch.report.model import (
    Changes,
    DollarRange,
    LimitChange,
    Planned,
    ResumedRun,
    RunReport,
    VersionCost,
    from_json,
    to_json,
    with_grades,
)
from llmbatch.report.page import html
from llmbatch.report.rungs import RungScore
from llmbatch.report.terminal import text

__all__ = [
    "Changes",
    "Decision",
    "DollarRange",
    "Judging",
    "LimitChange",
    "PastRun",
    "Planned",
    "ResumedRun",
    "RunFacts",
    "RunReport",
    "RungScore",
    "Schedule",
    "VersionCost",
    "build",
    "from_json",
    "html",
    "moment",
    "per_1000",
    "text",
    "to_json",
    "with_grades",
]
