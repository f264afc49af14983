"""The ledger: the pipeline's DuckDB file. Nothing outside this package speaks to DuckDB about it."""

from llmbatch.ledger import batches
from llmbatch.ledger.answers import RowAnswer, answers_between
from llmbatch.ledger.batches import BatchRequest, OpenBatch
from llmbatch.ledger.bills import Bill, bills, charged, draw
from llmbatch.ledger.collect import Collected, collect
from llmbatch.ledger.compare import NamedRun, Pair, Side, differing, matched_by, run_named, sizes
from llmbatch.ledger.doctor import Diagnosis, Finding, examine
from llmbatch.ledger.files import remove_leftovers
from llmbatch.ledger.known import Known, Rejection, known
from llmbatch.ledger.lock import Lock
from llmbatch.ledger.opinions import JudgedRun, judged_row, judged_runs, same_rows
from llmbatch.ledger.past import Asked, Past, past
from llmbatch.ledger.recall import Recall
from llmbatch.ledger.repair import Repaired, repair
from llmbatch.ledger.runs import (
    COMPARED,
    FINISHED,
    JUDGED,
    Begun,
    Run,
    RunStart,
    VersionBill,
    begin,
    begun,
    changes,
    end,
    history,
    reports_before,
    run_ids,
    seq_before_night,
    spent,
    spent_by_version,
    upcoming,
)
from llmbatch.ledger.schedules import batch_times, keep_schedule, kept_schedule
from llmbatch.ledger.schema import connect, scratch, second_connection
from llmbatch.ledger.sequence import beside
from llmbatch.ledger.sighting import Sighted, Sighting
from llmbatch.ledger.store import Ledger
from llmbatch.ledger.story import attempts_of, climbs_of, outcomes_of, request_of, version_of

__all__ = [
    "COMPARED",
    "FINISHED",
    "JUDGED",
    "Asked",
    "BatchRequest",
    "Begun",
    "Bill",
    "Collected",
    "Diagnosis",
    "Finding",
    "JudgedRun",
    "Known",
    "Ledger",
    "Lock",
    "NamedRun",
    "OpenBatch",
    "Pair",
    "Past",
    "Recall",
    "Rejection",
    "Repaired",
    "RowAnswer",
    "Run",
    "RunStart",
    "Side",
    "Sighted",
    "Sighting",
    "VersionBill",
    "answers_between",
    "attempts_of",
    "batch_times",
    "batches",
    "begin",
    "begun",
    "beside",
    "bills",
    "changes",
    "charged",
    "climbs_of",
    "collect",
    "connect",
    "differing",
    "draw",
    "end",
    "examine",
    "history",
    "judged_row",
    "judged_runs",
    "keep_schedule",
    "kept_schedule",
    "known",
    "matched_by",
    "outcomes_of",
    "past",
    "remove_leftovers",
    "repair",
    "reports_before",
    "request_of",
    "run_ids",
    "run_named",
    "same_rows",
    "scratch",
    "second_connection",
    "seq_before_night",
    "sizes",
    "spent",
    "spent_by_version",
    "upcoming",
    "version_of",
]
