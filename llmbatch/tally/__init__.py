"""The running sums of a run: what progress, the status file and the report read. Constant memory, whatever the rows."""

from llmbatch.tally.examples import Example, Examples
from llmbatch.tally.extremes import Extremes, RowSum
from llmbatch.tally.histogram import Histogram
from llmbatch.tally.sums import BatchState, ModelSum, RungSum, Saved, Tally
from llmbatch.tally.timeline import Look, Point, Timeline

__all__ = [
    "BatchState",
    "Example",
    "Examples",
    "Extremes",
    "Histogram",
    "Look",
    "ModelSum",
    "Point",
    "RowSum",
    "RungSum",
    "Saved",
    "Tally",
    "Timeline",
]
