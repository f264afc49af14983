"""What earlier runs tell of a run to come: what their calls used, how fast they were, how far plans were off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb
import orjson

from llmbatch.ledger.faults import storage_faults
from llmbatch.ledger.statements import statements

_SAMPLES = 300  #: stored requests that a rule is held against
_REPORTS = 5


@dataclass(frozen=True, slots=True)
class Asked:
    """Which requests a plan is for, as far as the ledger tells them apart."""

    model: str
    version: str
    schema: str  #: JSON text, as the ledger has it
    simulated: bool = True  #: answers of the simulator tell something


@dataclass(frozen=True, slots=True)
class Use:
    """What calls used, summed."""

    nearness: int  #: 0 for this prompt version, 1 for another with this schema, 2 for other requests of the model
    runs: int
    asked: int  #: requests that were asked for the first time, however that ended
    answers: int  #: that told what they used
    first_answers: int  #: those of them to a first ask
    input: int
    first_input: int
    cached: int
    cache_write: int
    output: int
    reasoning: int
    output_deviation: float  #: standard deviation of an answer's output tokens
    probes: int  #: of the runs


@dataclass(frozen=True, slots=True)
class Sample:
    """A stored request, and what the server counted for it."""

    user_message: str
    system: str | None
    schema: str
    input_tokens: int


@dataclass(frozen=True, slots=True)
class Past:
    """All that is known."""

    uses: tuple[Use, ...] = ()  #: nearest first
    samples: tuple[Sample, ...] = ()
    reports: tuple[dict[str, Any], ...] = ()  #: report.json of the newest runs of this model, newest first


@storage_faults()
def past(con: duckdb.DuckDBPyConnection, asked: Asked) -> Past:
    """What the ledger has for requests such as these."""
    which = {"model": asked.model, "version": asked.version, "simulated": asked.simulated}
    uses = con.execute(statements()["past_use"], {**which, "schema": asked.schema}).fetchall()
    counted = dict(con.execute(statements()["past_places"], {**which, "most": _SAMPLES}).fetchall())
    asked_for = con.execute(statements()["past_messages"], [list(counted)]).fetchall()
    reports = con.execute(statements()["past_reports"], {"model": asked.model, "most": _REPORTS}).fetchall()
    return Past(
        tuple(Use(*map(_number, row)) for row in uses),
        tuple(Sample(text, system, schema, counted[place]) for place, text, system, schema in asked_for),
        tuple(orjson.loads(text) for (text,) in reports if text),
    )


def _number(value: Any) -> Any:
    return value if isinstance(value, float) else int(value)
