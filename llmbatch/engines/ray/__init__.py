"""Beyond one machine: the live engine, with calls made by workers on a Ray cluster.

    driver:  live.answer -> Fleet ----lease-----> worker: Retrying, Hedged -> Permitted -> Tiered, Timed -> provider
                            accounted <--asked, ended-----------------------------'
             Recording, Limited, Budgeted, Metered -> Desk ---permit, stored-----^

The driver owns source, ledger, judge, results, and every limit; a worker owns one request at a time from its first
attempt to its last word. Why it is cut there: docs/design/cluster.md.
"""

from llmbatch.engines.ray.fleet import Fleet
from llmbatch.engines.ray.link import Gone, Link

__all__ = ["Fleet", "Gone", "Link"]
