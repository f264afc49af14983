"""One row's story for `llmbatch show`."""

from __future__ import annotations

from typing import Any

import duckdb
import orjson

from llmbatch.ledger import attempts_of, outcome_of, request_of


def story(con: duckdb.DuckDBPyConnection, row: str) -> dict[str, Any] | None:
    """The newest outcome of a row (by id, else by number), its request and every attempt; None if no run had it."""
    outcome = outcome_of(con, row)
    if outcome is None:
        return None
    key = outcome["key"]
    return {
        **outcome,
        "request": request_of(con, key) if key else None,
        "attempts": attempts_of(con, key) if key else [],
    }


def told(facts: dict[str, Any]) -> str:
    """The story as text, with what came from models and rows as it is."""
    lines = [f"row {facts['row_no']}" + (f", id {facts['row_id']}" if facts["row_id"] else "")]
    lines.append(f"{facts['status']} in run {facts['run_id']}" + (f": {facts['failure']}" if facts["failure"] else ""))
    if facts["reason"]:
        lines.append(f"  {facts['reason']}")
    if request := facts["request"]:
        lines += [
            "",
            f"request {facts['key']}",
            f"model {request['model']}, prompt version {request['prompt_version']}",
        ]
        if request["system"]:
            lines += ["[system]", request["system"]]
        lines += ["[user]", request["user_message"]]
    for attempt in facts["attempts"]:
        lines += ["", *_attempt(attempt)]
    return "\n".join(lines)


def _attempt(attempt: dict[str, Any]) -> list[str]:
    head = f"attempt {attempt['number']}, {attempt['asked_at']:%Y-%m-%d %H:%M:%S} UTC, {attempt['latency_ms']:,.0f} ms"
    status = f", status {attempt['http_status']}" if attempt["http_status"] else ""
    lines = [f"{head}{status}: {attempt['outcome']}" + (f" ({attempt['reason']})" if attempt["reason"] else "")]
    if attempt["possibly_paid"]:
        lines.append("  nothing usable came back; the provider may bill it")
    if attempt["raw"] is not None:
        cost = "price unknown" if attempt["cost_usd"] is None else f"${attempt['cost_usd']:.6f}"
        tokens = f"{attempt['input_tokens']} tokens in, {attempt['output_tokens']} out"
        lines += [f"  {attempt['model']}, {tokens}, {cost}", "  " + _message(attempt["raw"])]
    return lines


def _message(raw: str) -> str:
    try:
        return str(orjson.loads(raw)["choices"][0]["message"].get("content"))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return raw
