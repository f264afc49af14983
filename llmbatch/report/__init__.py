"""The report of a run: built from its sums, rendered as text, JSON and HTML. It returns values and writes nothing."""

from llmbatch.report.build import RunFacts, build
from llmbatch.report.model import Changes, DollarRange, LimitChange, Planned, ResumedRun, RunReport, from_json, to_json
from llmbatch.report.page import html
from llmbatch.report.terminal import text

__all__ = [
    "Changes",
    "DollarRange",
    "LimitChange",
    "Planned",
    "ResumedRun",
    "RunFacts",
    "RunReport",
    "build",
    "from_json",
    "html",
    "text",
    "to_json",
]
