"""Runs in the ledger: begin, end, which one a run goes on with, and what changed since the night before."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import duckdb
import orjson

from llmbatch.ledger.faults import storage_faults
from llmbatch.ledger.statements import statements

#: run_ends.status of a run that reached every row; any other, or none, can be resumed
FINISHED = frozenset({"finished", "too_many_failed", "quality_failed"})
#: how the fingerprint of a candidate's run begins: it is no night, so none goes on with it or is compared with it
COMPARED = "compare:"
#: likewise of a run in which a grader asks its own model; then come the run that is graded and the grader's name
JUDGED = "judge:"


@dataclass(frozen=True, slots=True)
class RunStart:
    """What is known when a run begins."""

    pipeline: str
    version: str
    label: str | None
    model: str
    system: str | None
    params: str  #: JSON text
    schema: str  #: JSON text
    prompt: str
    hooks: str | None
    input: str  #: file names
    fingerprint: str
    total: int
    settings: str  #: JSON text, no secrets
    rungs: tuple[tuple[str, str], ...] = ()  #: with a ladder: each model, with the prompt version of its requests


@dataclass(frozen=True, slots=True)
class VersionBill:
    """What one prompt version cost over all its runs."""

    version: str
    label: str | None
    runs: int
    answers: int
    dollars: Decimal  #: as far as answers are priced
    unpriced: int  #: answers


@dataclass(frozen=True, slots=True)
class Run:
    """A begun run."""

    run_no: int
    run_id: str
    started_at: float  #: seconds since the epoch
    resumes: tuple[int, ...]  #: unfinished runs of the same input and prompt version right before it
    before: int | None  #: the newest run that this one does not resume: last night

    @property
    def earlier(self) -> tuple[int, ...]:
        """The runs that had these rows before: those it resumes, and last night's."""
        return self.resumes if self.before is None else (*self.resumes, self.before)


@storage_faults()
def begin(con: duckdb.DuckDBPyConnection, start: RunStart) -> Run:
    """Append a run and, if they are new, its prompt version and those of the models of its ladder."""
    run_no, resumes, before = upcoming(con, start.fingerprint, start.version)
    now = time.time()
    run_id = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now))}-{secrets.token_hex(3)}"
    micros = int(now * 1e6)
    con.execute("begin")
    for model, version in ((start.model, start.version), *start.rungs):
        con.execute(
            statements()["add_prompt_version"],
            [version, start.label, model, start.system, start.params, start.schema, start.prompt, start.hooks, micros,
             version],
        )  # fmt: skip
    con.execute(
        statements()["begin_run"],
        [run_no, run_id, start.pipeline, start.version, start.input, start.fingerprint, start.total, start.settings,
         list(resumes), micros],
    )  # fmt: skip
    con.execute("commit")
    return Run(run_no, run_id, now, resumes, before)


@storage_faults()
def upcoming(con: duckdb.DuckDBPyConnection, fingerprint: str, version: str) -> tuple[int, tuple[int, ...], int | None]:
    """What a run over this input would be: its number, the unfinished runs that it goes on with, last night's run.

    A probe is an unfinished run, and never last night's. A candidate's run or a judge's is neither, and hides none that
    stopped.
    """
    (newest,) = con.execute(statements()["newest_run"]).fetchone() or (0,)
    last = con.execute(statements()["last_run"]).fetchone()
    if last is None or fingerprint.startswith((COMPARED, JUDGED)):
        return newest + 1, (), None
    last_no, its_fingerprint, its_version, earlier, status = last
    goes_on = status not in FINISHED and (its_fingerprint, its_version) == (fingerprint, version)
    resumes = (*earlier, last_no) if goes_on else ()
    (before,) = con.execute(statements()["last_night"], [resumes[0] - 1 if resumes else last_no]).fetchone() or (None,)
    return newest + 1, resumes, before


@storage_faults()
def end(con: duckdb.DuckDBPyConnection, run: Run, *, ended_at: float, status: str, exit_code: int, report: str) -> None:
    """Append how a run ended, with its report.json."""
    con.execute(statements()["end_run"], [run.run_no, int(ended_at * 1e6), status, exit_code, report])


@storage_faults()
def spent(con: duckdb.DuckDBPyConnection, run_nos: tuple[int, ...]) -> tuple[Decimal, int]:
    """Dollars of all attempts of these runs as far as they are priced, and how many answered ones are not."""
    row = con.execute(statements()["paid_by_runs"], [list(run_nos)]).fetchone()
    assert row is not None
    return Decimal(row[0]), int(row[1])


@storage_faults()
def spent_by_version(con: duckdb.DuckDBPyConnection, most: int) -> list[VersionBill]:
    """The bills of the newest prompt versions, newest first."""
    return [VersionBill(*row) for row in con.execute(statements()["paid_by_version"], {"most": most}).fetchall()]


@storage_faults()
def reports_before(con: duckdb.DuckDBPyConnection, run: Run, most: int) -> list[tuple[str, str]]:
    """run_id and report.json (text) of the newest runs before one that ended, newest first."""
    return con.execute(statements()["reports_before"], {"run": run.run_no, "most": most}).fetchall()


@storage_faults()
def changes(con: duckdb.DuckDBPyConnection, run: Run, *, by_id: bool) -> dict[str, int | None] | None:
    """Rows new, changed and gone since last night; None when this is the first.

    Without an id column a changed row cannot be told from a new one: it counts as new and gone, ``changed`` is None.
    """
    if run.before is None:
        return None
    name = "changes_by_id" if by_id else "changes_by_key"
    row = con.execute(statements()[name], {"now": run.run_no, "before": run.before}).fetchone()
    return None if row is None else dict(zip(("new", "changed", "gone"), row, strict=True))


@storage_faults()
def seq_before_night(con: duckdb.DuckDBPyConnection, run: Run) -> int:
    """The last attempt that is not of this night: nor of the runs it resumes, as far as none ended below its floor."""
    row = con.execute(statements()["seq_before_night"], {"night": [*run.resumes, run.run_no]}).fetchone()
    assert row is not None
    return int(row[0])


@dataclass(frozen=True, slots=True)
class Begun:
    """A run of the history, with what it read."""

    run: Run
    inputs: tuple[str, ...]  #: as given; empty when the run has no report
    fingerprint: str  #: of the input's bytes
    total: int  #: rows


@storage_faults()
def begun(con: duckdb.DuckDBPyConnection, run_id: str) -> Begun | None:
    """The newest run whose run_id begins so; None when there is none."""
    row = con.execute(statements()["begun"], {"run_id": run_id}).fetchone()
    if row is None:
        return None
    run_no, name, resumes, fingerprint, total, inputs = row
    run = Run(run_no, name, 0.0, tuple(resumes), None)
    return Begun(run, tuple(inputs or ()), fingerprint.rpartition(":")[0], total)


@storage_faults()
def run_ids(con: duckdb.DuckDBPyConnection) -> dict[int, str]:
    """Every run's run_id by its number."""
    return dict(con.execute(statements()["run_ids"]).fetchall())


@storage_faults()
def history(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Every run, newest first: the columns of ledger.sql's run_history, ``report`` read, ``rows`` and ``cost_usd``.

    Of a run that died, the ledger says how far it came: its rows that had an outcome, the others are pending.
    """
    cursor = con.execute(statements()["run_history"])
    names = [column[0] for column in cursor.description or ()]
    nights = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    died = {run_id: rest for run_id, *rest in con.execute(statements()["died_runs"]).fetchall()}
    for night in nights:
        report = night["report"] = orjson.loads(night["report"]) if night["report"] else None
        if report:
            night |= {"rows": report.get("rows"), "cost_usd": report.get("cost", {}).get("total_usd")}
        else:
            counts, dollars = died.get(night["run_id"], (None, None))
            night |= {
                "rows": _rows(night["total"], counts or {}),
                "cost_usd": None if dollars is None else float(dollars),
            }
        night["total"] = (night["rows"] or {}).get("total", night["total"])  # a worker's run begins without one
    return nights


def _rows(total: int, counts: dict[str, int]) -> dict[str, int]:
    ended = {name: counts.get(name, 0) for name in ("done", "reused", "failed", "skipped")}
    total = max(total, sum(ended.values()))
    return {"total": total, **ended, "pending": total - sum(ended.values())}
