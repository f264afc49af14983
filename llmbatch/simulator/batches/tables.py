"""The scenario's tables about batches: ``[batches]``, and a ``[[batch]]`` for each thing that goes wrong."""

from __future__ import annotations

import difflib
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

#: What can be wrong with a batch, and the parameters that it takes beside nth.
BATCH_KINDS: dict[str, frozenset[str]] = {
    kind: frozenset(parameters.split())
    for kind, parameters in {
        "fail": "",  # its validation fails
        "over_quota": "",  # its creation is answered, then it fails for too many enqueued tokens
        "never": "",  # no row is ever done; it expires
        "expire": "done",  # it expires with a part of its rows done
        "slow": "factor",  # it takes so many times as long
        "all_failed": "status",  # it completes, and every row is in the error file
        "row_errors": "share status",  # so are some
        "no_output_file": "",  # the file is named, and gone
        "no_error_file": "",
        "duplicate_ids": "share",  # rows stand twice in the output file
        "missing_ids": "share",  # rows are done, paid and in no file
        "foreign_ids": "share",  # there are rows that nobody asked for
        "body_as_text": "",  # response.body is a JSON string
        "cut_line": "",  # the last line of the output file ends in its middle
    }.items()
}


def _known_kind(kind: Any) -> Any:
    if kind in BATCH_KINDS:
        return kind
    near = difflib.get_close_matches(str(kind), BATCH_KINDS, n=1)
    raise ValueError(f"no such kind of batch; did you mean {near[0]!r}?" if near else "no such kind of batch")


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BatchFault(_Table):
    """[[batch]]: what is wrong with the batch that is created nth, or with every one."""

    kind: Annotated[str, BeforeValidator(_known_kind)]
    nth: int | None = Field(default=None, ge=1)
    share: float = Field(default=0.1, ge=0, le=1)  #: of the rows, drawn by row
    done: float = Field(default=0.5, ge=0, le=1)  #: of the rows, before it expires
    factor: float = Field(default=10.0, gt=0)
    status: int = Field(default=500, ge=400, le=599)

    @model_validator(mode="after")
    def _parameters_fit(self) -> BatchFault:
        if strange := sorted(self.model_fields_set - {"kind", "nth"} - BATCH_KINDS[self.kind]):
            takes = ", ".join(sorted(BATCH_KINDS[self.kind])) or "no parameter"
            raise ValueError(f"{strange[0]!r} means nothing for kind {self.kind!r}, which takes {takes}")
        return self


class Batches(_Table):
    """[batches]: how long a batch takes in each state, in seconds of the server's clock, and how large it may be."""

    validating_s: float = Field(default=1.0, ge=0)
    median_s: float = Field(default=60.0, ge=0)  #: in progress; log-normal
    sigma: float = Field(default=0.0, ge=0, le=4)  #: of the logarithm
    finalizing_s: float = Field(default=1.0, ge=0)
    cancelling_s: float = Field(default=1.0, ge=0)
    window_s: float = Field(default=86_400.0, gt=0)  #: after it, a batch that is not done expires
    requests: int = Field(default=50_000, ge=1)  #: of a file
    bytes: int = Field(default=200_000_000, ge=1)  #: of a file
    enqueued_tokens: int | None = Field(default=None, ge=1)  #: of all live batches, four bytes a token
    list_lag_s: float = Field(default=0.0, ge=0)  #: a new batch is listed so much later
    list_ms: float = Field(default=0.0, ge=0)  #: a list takes so long, in real time
    unordered: bool = True  #: answers come in another order than requests


class Clock(_Table):
    """[clock]: how the time of batches passes."""

    speed: float = Field(default=1.0, gt=0)  #: seconds of the server's clock in a real second
