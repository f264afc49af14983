"""Every kind of fault that the simulator knows, and what becomes of the rows that meet it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmbatch.simulator import KINDS


@dataclass(frozen=True, slots=True)
class Case:
    """A fault, and what becomes of the rows that meet it."""

    fault: dict[str, Any]  #: kind and parameters
    ends: str = "done"  #: or the class with which the rows fail
    stops: bool = False  #: it ends the run
    perhaps: bool = False  #: the client cannot tell whether it was billed
    untold: bool = False  #: billed, and the client does not hear how many tokens

    @property
    def kind(self) -> str:
        """The fault's kind."""
        return str(self.fault["kind"])


def once(kind: str, *, stops: bool = False, perhaps: bool = False, untold: bool = False, **more: Any) -> Case:
    """A fault that hits the first ask of a row only: the next one is answered."""
    return Case({"kind": kind, "times": 1, **more}, "done", stops, perhaps, untold)


def always(kind: str, ends: str = "done", *, perhaps: bool = False, untold: bool = False, **more: Any) -> Case:
    """A fault that hits every ask of a row."""
    return Case({"kind": kind, **more}, ends, False, perhaps, untold)


def lasting(kind: str, ends: str, *, perhaps: bool = False, untold: bool = False, **more: Any) -> list[Case]:
    """A fault that some rows meet once, and others always."""
    return [
        once(kind, perhaps=perhaps, untold=untold, **more),
        always(kind, ends, perhaps=perhaps, untold=untold, **more),
    ]


STOPS = [
    once("insufficient_quota", stops=True),
    once("bad_key", stops=True),
    once("forbidden", stops=True),
    once("unknown_model", stops=True),
    once("redirect", stops=True),
    once("echo_key", stops=True),
]
REFUSALS = [
    once("rate_limited", retry_after_s=0.2, retry_after_form="ms"),
    once("rate_limited", retry_after_form="junk"),
    always("context_length", "context_length"),
    always("bad_request", "rejected"),
    once("structured_output_unsupported"),
    *lasting("server_error", "transient", status=500),
    *lasting("server_error", "transient", status=502, html=True),
    *lasting("server_error", "overloaded", status=503, retry_after_form="ms", retry_after_s=0.1),
    *lasting("server_error", "overloaded", status=529),
    *(
        case
        for kind in ("html_200", "error_200", "null_200", "empty_200")
        for case in lasting(kind, "broken_reply", perhaps=True)
    ),
]
WIRE = [
    *lasting("reset_before", "connection", perhaps=True),
    *lasting("reset_mid", "connection", perhaps=True, untold=True),
    *lasting("reset_after_execution", "connection", perhaps=True, untold=True),
    *lasting("wrong_length", "connection", perhaps=True, untold=True),
    *lasting("cut_json_body", "broken_reply", perhaps=True, untold=True),
    *lasting("no_choices", "broken_reply", perhaps=True, untold=True),
    *lasting("invalid_utf8", "broken_reply", perhaps=True, untold=True),
    once("hang", perhaps=True),
    always("hang", seconds=0.2),
    once("slow_body", perhaps=True, untold=True, bytes_per_s=20),
    always("slow_body", bytes_per_s=2000),
]
SLOW = [  # a second's pause for all rows, or the whole timeout for each attempt
    *(once("rate_limited", retry_after_form=form) for form in ("seconds", "date", "none")),
    once("rate_limited", retry_after_s=-3),
    always("hang", "timeout", perhaps=True),
    always("slow_body", "timeout", perhaps=True, untold=True, bytes_per_s=20),
]
ANSWERS = [
    *lasting("truncated", "truncated"),
    always("content_filter", "content_filter"),
    always("refusal", "refusal"),
    always("refusal_text", "refusal"),
    *lasting("empty", "empty"),
    *lasting("null_content", "empty"),
    *lasting("tool_calls_only", "empty"),
    *lasting("wrong_shape", "schema"),
    *lasting("wrong_enum", "schema"),
    *lasting("extra_key", "schema"),
    *lasting("nan", "not_json"),
    *lasting("duplicate_key", "not_json"),
    *lasting("not_json", "schema"),  # mended, it is JSON: a list of words
    *lasting("ignore_schema", "not_json"),
    always("fenced"),
    always("prose"),
    always("lone_surrogate"),
    always("nul"),
    always("big_answer", size=200_000),
    always("content_parts"),
    always("missing_usage", untold=True),
    always("negative_usage", untold=True),
    always("huge_usage", untold=True),
    always("other_tier", tier="priority"),
    always("other_model", model="other-model"),
]

ALL = [*STOPS, *REFUSALS, *WIRE, *SLOW, *ANSWERS]
QUICK = [case for case in ALL if case not in SLOW]
assert {case.kind for case in QUICK} == set(KINDS) - {"flex_unavailable"}  # means nothing at the standard tier
