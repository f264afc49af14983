"""The rows of a batch, answered: lines for its output and its error file, and what each one bills."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from llmbatch.simulator import completion, refusals
from llmbatch.simulator.asked import Asked, read
from llmbatch.simulator.batches.tables import BatchFault
from llmbatch.simulator.brain import Brain
from llmbatch.simulator.form import BadRequest
from llmbatch.simulator.plan import Plan, draw
from llmbatch.simulator.scenario import Fault
from llmbatch.simulator.spoil import BODIES, TEXTS
from llmbatch.types import Usage

_BLOCK = 500  #: lines that are shuffled among themselves
_LEFT = {"expired": "batch_expired", "cancelled": "batch_cancelled"}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of one of the two files, or a row that is in none of them."""

    raw: bytes | None  #: None: nothing is written
    failed: bool  #: belongs into the error file
    asked: Asked | None
    usage: Usage | None  #: what is billed
    tried: bool = True  #: False for a row that the batch's end came before


@dataclass(frozen=True, slots=True)
class Ending:
    """What its rows depend on, of a batch that has ended."""

    status: str
    nth: int  #: which batch of the server
    faults: Sequence[BatchFault]
    at_s: float  #: since the first request


class Rows:
    """Answers rows, as the scenario's faults and a batch's own want it."""

    def __init__(self, brain: Brain, plan: Plan, seed: int, cached_share: float) -> None:
        self._brain = brain
        self._plan = plan
        self._seed = seed
        self._cached_share = cached_share
        self._number = 0

    async def lines(self, path: Path, done: int, ending: Ending, *, unordered: bool) -> AsyncIterator[Line]:
        """The lines of a batch that ended with the first ``done`` rows of its file done."""
        shuffle = random.Random(self._seed).shuffle
        with path.open("rb") as file:
            first = 0
            while block := list(islice(file, _BLOCK)):
                lines = [line for n, raw in enumerate(block, first) for line in self._lines(raw, n < done, ending)]
                if unordered:
                    shuffle(lines)
                for line in lines:
                    yield line
                await asyncio.sleep(0)  # the server answers others meanwhile
                first += len(block)

    def _lines(self, raw: bytes, is_done: bool, ending: Ending) -> Iterator[Line]:
        row = orjson.loads(raw)
        custom_id = row["custom_id"]
        if not is_done:
            code = _LEFT.get(ending.status, "batch_expired")
            error = {"code": code, "message": "This request could not be executed before the batch ended."}
            yield Line(_line(custom_id, None, error), failed=True, asked=None, usage=None, tried=False)
            return
        hits = {
            fault.kind: fault
            for no, fault in enumerate(ending.faults)
            if draw(self._seed, no, custom_id, ending.nth) < _share(fault)
        }
        if hit := hits.get("all_failed") or hits.get("row_errors"):
            answer = refusals.error(
                hit.status, "The server had an error while processing your request.", "server_error"
            )
            yield Line(
                _line(custom_id, _response(hit.status, orjson.loads(answer.body))), failed=True, asked=None, usage=None
            )
            return
        line = self._answered(custom_id, orjson.dumps(row["body"]), ending.at_s, as_text="body_as_text" in hits)
        if "missing_ids" in hits:
            line = Line(None, line.failed, line.asked, line.usage)
        yield line
        if "duplicate_ids" in hits:
            yield Line(line.raw, line.failed, None, None)
        if "foreign_ids" in hits and line.raw is not None:
            yield Line(line.raw.replace(custom_id.encode(), b"nobody-asked-this"), line.failed, None, None)

    def _answered(self, custom_id: str, body: bytes, at_s: float, *, as_text: bool) -> Line:
        try:
            asked = read(body)
        except BadRequest as problem:
            refused = refusals.bad_request(problem)
            return Line(_line(custom_id, _response(400, orjson.loads(refused.body))), True, None, None)
        fault = self._plan.fault(asked.user_hash, asked.user_text, at_s, lambda f: _applies(f, asked))
        if fault and fault.kind in refusals.REFUSALS:
            refused = refusals.REFUSALS[fault.kind](fault, asked, "")
            return Line(_line(custom_id, _response(refused.status, orjson.loads(refused.body))), True, asked, None)
        text, tokens, finish_reason = completion.written(asked, fault, self._brain)
        prompt_tokens = completion.input_tokens(asked, self._brain)
        usage = Usage(input=prompt_tokens, output=tokens, cached=int(prompt_tokens * self._cached_share))
        self._number += 1
        raw = completion.body(asked, fault, text, finish_reason, usage=usage, number=self._number)
        answer = raw.decode() if as_text else orjson.Fragment(raw)
        return Line(_line(custom_id, _response(200, answer)), False, asked, usage)


def _share(fault: BatchFault) -> float:
    return fault.share if fault.kind in ("row_errors", "duplicate_ids", "missing_ids", "foreign_ids") else 1.0


_NO_JSON = {"html_200", "error_200", "null_200", "empty_200", "redirect", "flex_unavailable"}
_JSON_REFUSALS = frozenset(refusals.REFUSALS) - _NO_JSON


def _applies(fault: Fault, asked: Asked) -> bool:
    """Whether a live fault means anything inside a batch: what is in the answer, and refusals of one row."""
    if fault.kind == "server_error":
        return not fault.html
    if fault.kind == "structured_output_unsupported":
        return asked.response_format in fault.modes
    return fault.kind in TEXTS or fault.kind in BODIES or fault.kind in _JSON_REFUSALS


def _response(status: int, body: Any) -> dict[str, Any]:
    return {"status_code": status, "request_id": "req_simulated", "body": body}


def _line(custom_id: str, response: dict[str, Any] | None, error: dict[str, str] | None = None) -> bytes:
    return orjson.dumps({"id": "batch_req_1", "custom_id": custom_id, "response": response, "error": error}) + b"\n"
