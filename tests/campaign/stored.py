"""What is in the ledger of a run that is dead."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

_REPLIES = """
select sha256(user_message), count(*)
from attempts join (select distinct key, user_message from requests) using (key)
where run_no = ? and outcome = 'answered' group by all
"""


@dataclass
class Stored:
    """What was read; by default of a run that stored nothing."""

    seqs: list[int] = field(default_factory=list)  #: of all attempts, ascending
    runs: int = 0
    ended: bool = False  #: the last run has its end
    rows: list[int] = field(default_factory=list)  #: that have an outcome in the last run, ascending
    replies: Counter[str] = field(default_factory=Counter)  #: of the last run, by the hash of the user message


def read(ledger: Path) -> Stored:
    """Read a copy, so that the next run meets the files as the last one left them."""
    with tempfile.TemporaryDirectory() as folder:
        for path in ledger.parent.glob(f"{ledger.name}*"):
            shutil.copy(path, folder)
        with duckdb.connect(str(Path(folder) / ledger.name)) as con:
            seqs = con.execute("select seq from attempts order by seq").fetchall()
            runs = con.execute("select coalesce(max(run_no), 0) from runs").fetchall()[0][0]
            ended = con.execute("select 1 from run_ends where run_no = ?", [runs]).fetchall()
            rows = con.execute("select row_no from outcomes where run_no = ? order by row_no", [runs]).fetchall()
            replies = con.execute(_REPLIES, [runs]).fetchall()
    return Stored([seq for (seq,) in seqs], runs, bool(ended), [n for (n,) in rows], Counter(dict(replies)))
