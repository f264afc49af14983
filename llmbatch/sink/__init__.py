"""The results files: every input row with its answer, whole or not at all."""

from llmbatch.sink.answer import Answer, Target, Written
from llmbatch.sink.columns import added_columns
from llmbatch.sink.publish import check_store, publish
from llmbatch.sink.results import check_target, write_results

__all__ = ["Answer", "Target", "Written", "added_columns", "check_store", "check_target", "publish", "write_results"]
