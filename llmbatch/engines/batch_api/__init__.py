"""The batch engine: rows answered by provider batches, at half the price, within a day.

    rows -> render -> ledger lookup --known--> judge -> outcome
                         | unknown                ^
                         v                        | the next pass
     intent -> upload -> create -> poll -> files -> ledger

A pass reads every row: it settles what is stored, and gathers what is not into batches. What came back invalid, failed
or expired goes into the next, smaller batch of the pass after. Rows are kept by no pass: between passes there is a byte
a row, and the ledger.
"""

from llmbatch.engines.batch_api.engine import BatchLimits, Engine, Purse
from llmbatch.engines.batch_api.flight import Flight
from llmbatch.engines.batch_api.night import Night, answer

__all__ = ["BatchLimits", "Engine", "Flight", "Night", "Purse", "answer"]
