"""The ledger: the pipeline's DuckDB file. Nothing outside this package speaks to DuckDB about it."""

from llmbatch.ledger.answers import RowAnswer, answers_between
from llmbatch.ledger.known import Known, Rejection, known
from llmbatch.ledger.lock import Lock
from llmbatch.ledger.runs import FINISHED, Run, RunStart, begin, changes, end, history, run_ids, spent
from llmbatch.ledger.schema import connect
from llmbatch.ledger.store import Ledger
from llmbatch.ledger.story import attempts_of, outcome_of, request_of

__all__ = [
    "FINISHED",
    "Known",
    "Ledger",
    "Lock",
    "Rejection",
    "RowAnswer",
    "Run",
    "RunStart",
    "answers_between",
    "attempts_of",
    "begin",
    "changes",
    "connect",
    "end",
    "history",
    "known",
    "outcome_of",
    "request_of",
    "run_ids",
    "spent",
]
