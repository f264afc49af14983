"""Answers given in place of the model: the errors of the API, and what proxies say. None of them is paid."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import orjson

from llmbatch.simulator.asked import Asked
from llmbatch.simulator.buckets import Denied
from llmbatch.simulator.form import BadRequest
from llmbatch.simulator.scenario import Fault, RetryAfterForm
from llmbatch.simulator.wire import Answer

_HTML = b"<!doctype html><html><head><title>%s</title></head><body><h1>%s</h1><hr>nginx</body></html>"
_REASONS = {500: b"Internal Server Error", 502: b"Bad Gateway", 503: b"Service Unavailable", 504: b"Gateway Time-out"}


def error(
    status: int,
    message: str,
    kind: str = "invalid_request_error",
    *,
    code: str | None = None,
    param: str | None = None,
    reason: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """An error in the API's shape."""
    body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return Answer(status, orjson.dumps(body), reason, headers=headers or {})


def retry_after(form: RetryAfterForm, seconds: float) -> dict[str, str]:
    """The header that asks for a wait, in one of the forms seen in the wild. Whole seconds are rounded up."""
    match form:
        case "seconds":
            return {"Retry-After": str(math.ceil(seconds))}
        case "ms":
            return {"retry-after-ms": str(math.ceil(seconds * 1000))}
        case "date":
            then = datetime.now(UTC) + timedelta(seconds=math.ceil(seconds))
            return {"Retry-After": format_datetime(then, usegmt=True)}
        case "junk":
            return {"Retry-After": "soon"}
        case "none":
            return {}


def bad_request(problem: BadRequest) -> Answer:
    """400 for a request that the real API would not take."""
    return error(400, str(problem), param=problem.param, reason="own_invalid")


def wrong_key() -> Answer:
    """401 for a key that is not the scenario's."""
    return error(401, "Incorrect API key provided.", code="invalid_api_key", reason="own_key")


def no_such_model(model: str, reason: str = "own_model") -> Answer:
    """404 for a model that is not served."""
    message = f"The model `{model}` does not exist or you do not have access to it."
    return error(404, message, code="model_not_found", reason=reason)


def queue_full() -> Answer:
    """503 when no further request may queue."""
    message = "The server is overloaded: its queue is full."
    return error(503, message, "service_unavailable", code="queue_full", reason="own_queue")


def denied(why: Denied, form: RetryAfterForm) -> Answer:
    """429 when a bucket is empty."""
    wait = {} if math.isinf(why.wait_s) else retry_after(form, why.wait_s)
    return error(429, why.message, why.kind, code="rate_limit_exceeded", reason="own_limit", headers=wait)


def _rate_limited(fault: Fault, asked: Asked, _: str) -> Answer:
    headers = retry_after(fault.retry_after_form or "seconds", fault.retry_after_s)
    message = f"Rate limit reached for {asked.model} on requests per min."
    return error(429, message, "requests", code="rate_limit_exceeded", headers=headers)


def _flex_unavailable(fault: Fault, asked: Asked, _: str) -> Answer:
    headers = retry_after(fault.retry_after_form or "none", fault.retry_after_s)
    message = f"Flex has no capacity for {asked.model} at the moment. You were not charged."
    return error(429, message, "resource_unavailable", code="resource_unavailable", headers=headers)


def _server_error(fault: Fault, _: Asked, __: str) -> Answer:
    status = fault.status or 500
    headers = retry_after(fault.retry_after_form or "none", fault.retry_after_s)
    if fault.html:
        title = b"%d %s" % (status, _REASONS.get(status, b"Error"))
        return Answer(status, _HTML % (title, title), content_type="text/html", headers=headers)
    kind = "overloaded_error" if status == 529 else "server_error"
    return error(status, "The server had an error while processing your request.", kind, headers=headers)


def _context_length(_: Fault, asked: Asked, __: str) -> Answer:
    message = f"This model's maximum context length is 8192 tokens. However, {asked.model} was sent more than that."
    return error(400, message, code="context_length_exceeded", param="messages")


def _unsupported(_: Fault, asked: Asked, __: str) -> Answer:
    message = f"'response_format' of type '{asked.response_format}' is not supported with this model."
    return error(400, f"Invalid parameter: {message}", param="response_format")


def _quota(_: Fault, __: Asked, ___: str) -> Answer:
    message = "You exceeded your current quota, please check your plan and billing details."
    return error(429, message, "insufficient_quota", code="insufficient_quota")


def _forbidden(_: Fault, __: Asked, ___: str) -> Answer:
    code = "unsupported_country_region_territory"
    return error(403, "Country, region, or territory not supported", "request_forbidden", code=code)


def _echo_key(fault: Fault, _: Asked, authorization: str) -> Answer:
    message = f"Incorrect API key provided: {authorization.removeprefix('Bearer ')} (header was: {authorization})."
    return error(fault.status or 401, message, code="invalid_api_key")


def _redirect(fault: Fault, _: Asked, __: str) -> Answer:
    return Answer(307, b"", headers={"Location": fault.location})


def _fixed(answer: Answer) -> Callable[[Fault, Asked, str], Answer]:
    return lambda *_: answer


#: What is answered for each kind, given the fault, the request and its Authorization header.
REFUSALS: dict[str, Callable[[Fault, Asked, str], Answer]] = {
    "rate_limited": _rate_limited,
    "flex_unavailable": _flex_unavailable,
    "insufficient_quota": _quota,
    "bad_key": _fixed(wrong_key()),
    "forbidden": _forbidden,
    "unknown_model": lambda _, asked, __: no_such_model(asked.model),
    "context_length": _context_length,
    "bad_request": _fixed(error(400, "Invalid value: 'messages[1].content'.", code="invalid_value", param="messages")),
    "server_error": _server_error,
    "structured_output_unsupported": _unsupported,
    "redirect": _redirect,
    "echo_key": _echo_key,
    "html_200": _fixed(Answer(200, _HTML % (b"Sign in", b"Sign in"), content_type="text/html")),
    "error_200": _fixed(error(200, "The upstream model is unavailable.", "server_error", code="upstream_error")),
    "null_200": _fixed(Answer(200, b"null")),
    "empty_200": _fixed(Answer(200, b"")),
}
