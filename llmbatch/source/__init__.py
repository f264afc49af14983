"""The input: JSON Lines or Parquet files as one stream of rows, and the survey of it before a run."""

from llmbatch.source.columns import ColumnType
from llmbatch.source.files import InputFile, Reading
from llmbatch.source.stream import Source, Stamp, open_source
from llmbatch.source.survey import Survey, check_row, refuse_changed, row_id, survey

__all__ = [
    "ColumnType",
    "InputFile",
    "Reading",
    "Source",
    "Stamp",
    "Survey",
    "check_row",
    "open_source",
    "refuse_changed",
    "row_id",
    "survey",
]
