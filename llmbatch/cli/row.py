"""One row's story for `llmbatch show`."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import orjson

from llmbatch.cli.verdict import bench
from llmbatch.cli.why import Asked, Why, changed
from llmbatch.ledger import attempts_of, climbs_of, judged_row, outcomes_of, request_of, version_of

_SHARED = ("model", "system", "params", "schema", "prompt")
_LAST = ("run_id", "row_no", "row_id", "status", "failure", "reason", "key", "seq")


def story(con: duckdb.DuckDBPyConnection, row: str, pipeline: Path) -> dict[str, Any] | None:
    """The newest outcome of a row (by id, else by number), why, its request and every attempt with its verdict now.

    None if no run had the row.
    """
    outcomes = outcomes_of(con, row)
    if not outcomes:
        return None
    last = outcomes[0]
    key = last["key"]
    attempts = attempts_of(con, key) if key else []
    request = request_of(con, key) if key else None
    text = request["user_message"] if request else None
    climbs = [_climb(con, climb) for climb in climbs_of(con, last["run_no"], last["row_no"])]
    every = [*attempts, *(attempt for climb in climbs for attempt in climb["attempts"])]
    judges = bench(pipeline, text, last["row_no"], last["input"].split()) if every else None
    for attempt in every:
        attempt["verdict"] = judges.judge(attempt["raw"]) if judges and attempt["raw"] is not None else None
    return {
        **{name: last[name] for name in _LAST},
        "why": _why(con, outcomes, attempts, {climb["key"] for climb in climbs}).as_json(),
        "request": request,
        "attempts": attempts,
        "climbs": climbs,
        "verdicts": judges.remark if judges else None,
        "judged": [_judged(con, asked) for asked in judged_row(con, last["run_id"], last["row_no"])],
        "runs": [{name: run[name] for name in ("run_id", "status", "failure", "key")} for run in outcomes],
    }


def _judged(con: duckdb.DuckDBPyConnection, asked: dict[str, Any]) -> dict[str, Any]:
    """What a grader's own model was asked about the row, and every attempt."""
    request, attempts = request_of(con, asked["key"] or ""), attempts_of(con, asked["key"] or "")
    return {**asked, "request": request, "attempts": [{**attempt, "verdict": None} for attempt in attempts]}


def _climb(con: duckdb.DuckDBPyConnection, left: dict[str, Any]) -> dict[str, Any]:
    """A model of the ladder that the row left, with every attempt there."""
    request = request_of(con, left["key"])
    return {**left, "model": request["model"] if request else None, "attempts": attempts_of(con, left["key"])}


def _why(
    con: duckdb.DuckDBPyConnection, outcomes: list[dict[str, Any]], attempts: list[dict[str, Any]], climbed: set[str]
) -> Why:
    last, key = outcomes[0], outcomes[0]["key"]
    if key is None:
        return Why("no request could be made for it")
    if last["status"] == "reused":
        return Why(f"reused: {_served(last, attempts)}")
    earlier = [attempt for attempt in attempts if attempt["run_id"] != last["run_id"]]
    if earlier:
        return Why(_not_enough(last, attempts, earlier))
    before = next((run for run in outcomes[1:] if run["key"] not in (None, key)), None)
    if before is not None and before["key"] in climbed:
        return Why("asked of the next model: what was asked before does not serve any more", before["run_id"])
    if before is not None:
        return changed(_asked(con, last), _asked(con, before))
    if any(run["key"] == key for run in outcomes[1:]):
        return Why("asked anew: its stored replies are gone from the ledger")
    return Why("asked: no earlier run had this row")


def _served(last: dict[str, Any], attempts: list[dict[str, Any]]) -> str:
    served = next((attempt for attempt in attempts if attempt["seq"] == last["seq"]), None)
    if served is None:
        return "a stored reply serves it"
    if served["run_id"] == last["run_id"]:
        return f"row {served['row_no']:,} of this run has the same request"
    return f"its request is that of {served['asked_at']:%Y-%m-%d %H:%M} UTC, run {served['run_id']}"


def _not_enough(last: dict[str, Any], attempts: list[dict[str, Any]], earlier: list[dict[str, Any]]) -> str:
    """The same request was asked in earlier runs, and no reply of theirs served."""
    answered = sum(attempt["outcome"] == "answered" for attempt in earlier)
    calls = f"{len(earlier)} earlier {'call' if len(earlier) == 1 else 'calls'}"
    if last["status"] == "failed" and len(attempts) == len(earlier):
        return f"not asked again: {calls}, {answered} answered, none valid"
    return f"asked again: {calls}, {answered} answered, none valid then or only by the simulator"


def _asked(con: duckdb.DuckDBPyConnection, run: dict[str, Any]) -> Asked:
    request, version = request_of(con, run["key"]), version_of(con, run["prompt_version"])
    text = request["user_message"] if request else None
    return Asked(run["run_id"], run["key"], version or dict.fromkeys(_SHARED), text)


def told(facts: dict[str, Any], *, raw: bool) -> str:
    """The story as text, with what came from models and rows as it is."""
    return "\n".join(_lines(facts, raw))


def _lines(facts: dict[str, Any], raw: bool) -> Iterator[str]:
    why = facts["why"]
    yield f"row {facts['row_no']:,}" + (f", id {facts['row_id']}" if facts["row_id"] else "")
    yield f"{facts['status']} in run {facts['run_id']}" + (f": {facts['failure']}" if facts["failure"] else "")
    if facts["reason"]:
        yield f"  {facts['reason']}"
    yield why["reason"]
    if why["difference"]:
        yield from (f"  {line}" for line in why["difference"].splitlines())
    if request := facts["request"]:
        version = f"prompt version {request['prompt_version']}"
        yield from ("", f"request {facts['key']}", f"model {request['model']}, params {request['params']}, {version}")
        if request["system"]:
            yield from ("[system]", request["system"])
        yield from ("[user]", request["user_message"])
    yield from _rungs(facts, raw)
    if facts["verdicts"]:
        yield from ("", facts["verdicts"])
    for asked in facts["judged"]:
        failed = f": {asked['failure']}" if asked["failure"] else ""
        yield from ("", f"grader {asked['grader']} asked in run {asked['run_id']}: {asked['status']}{failed}")
        for attempt in asked["attempts"]:
            yield from (f"  {line}" for line in _attempt(attempt, raw))


def _rungs(facts: dict[str, Any], raw: bool) -> Iterator[str]:
    """The attempts; with a ladder model by model, and why the row left each."""
    climbs = {climb["rung"]: climb for climb in facts["climbs"]}
    for rung in range(len(climbs) + 1):
        climb = climbs.get(rung)
        if climb is not None:
            yield from ("", f"left {climb['model']}, rung {rung + 1}: {climb['failure']}: {climb['reason']}")
        elif climbs:
            yield from ("", f"ended at {facts['request']['model'] if facts['request'] else '?'}, rung {rung + 1}")
        for attempt in (climb or facts)["attempts"]:
            yield from ("", *_attempt(attempt, raw))


def _attempt(attempt: dict[str, Any], raw: bool) -> Iterator[str]:
    head = f"attempt {attempt['number']}, {attempt['asked_at']:%Y-%m-%d %H:%M:%S} UTC, {attempt['latency_ms']:,.0f} ms"
    status = f", status {attempt['http_status']}" if attempt["http_status"] else ""
    reason = f" ({attempt['reason']})" if attempt["reason"] else ""
    yield f"{head}{status}, run {attempt['run_id']}: {attempt['outcome']}{reason}"
    if attempt["possibly_paid"]:
        yield "  nothing usable came back; the provider may bill it"
    if attempt["raw"] is None:
        return
    tier = f", tier {attempt['tier']}" if attempt["tier"] else ""
    yield f"  {attempt['model']}{tier}, {_tokens(attempt)}, {_dollars(attempt['cost_usd'])}"
    if attempt["verdict"]:
        yield f"  {attempt['verdict']}"
    yield "  " + (attempt["raw"] if raw else _message(attempt["raw"]))


def _tokens(attempt: dict[str, Any]) -> str:
    cached = f" ({attempt['cached_tokens']} cached)" if attempt["cached_tokens"] else ""
    return f"{attempt['input_tokens']} tokens in{cached}, {attempt['output_tokens']} out"


def _dollars(cost: Decimal | None) -> str:
    return "price unknown" if cost is None else f"${cost:.6f}"


def _message(raw: str) -> str:
    try:
        return str(orjson.loads(raw)["choices"][0]["message"].get("content"))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return raw
