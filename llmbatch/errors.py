"""The error tree, and the exit statuses.

LlmbatchError                     anything llmbatch raises on purpose
├── UserError             exit 2  a mistake in usage, pipeline or input; nothing was sent
│   ├── UsageError                flags that do not fit
│   ├── PipelineError             the pipeline folder
│   └── InputError                the input file
├── StorageError          exit 74 disk full, I/O error, a ledger that cannot be read
├── LedgerLocked          exit 75 another run holds the ledger
├── Stop                          the run ends early and can be resumed
│   ├── BudgetReached     exit 4
│   ├── DeadlineReached   exit 5
│   ├── BelowFloor        exit 7  too few gold rows were answered as they should be
│   ├── ProviderDown      exit 6  refused (bad key, spent quota, unknown model) or unreachable for too long
│   ├── Waiting           exit 0  batches go on at the provider; the same command fetches them later
│   ├── NextTier                  no end of the run: rows that are left are asked at another tier
│   └── Interrupted       exit 128 + signal number
└── Decision                      what a provider's fault means for one attempt
    ├── RateLimited               wait; uses no attempt
    │   └── Unavailable           as RateLimited; the tier asked for has no capacity now
    ├── Transient                 try again; uses an attempt
    │   ├── Overloaded            as Transient; the server names its load as the cause
    │   └── TimedOut              as Transient; the provider may bill it
    ├── Rejected                  this row will never work
    └── Refused                   no row will work: becomes ProviderDown
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum


class Exit(IntEnum):
    """Exit statuses; a release may add, not change."""

    OK = 0  #: every row valid, or failures within max_failed
    BUG = 1  #: a fault in llmbatch itself
    USER_ERROR = 2  #: usage, pipeline or input error; nothing sent
    TOO_MANY_FAILED = 3  #: finished, too many rows failed
    BUDGET = 4  #: budget reached; resumable
    DEADLINE = 5  #: deadline reached; resumable
    PROVIDER = 6  #: provider refused or unreachable; resumable
    QUALITY = 7  #: quality gate failed
    STORAGE = 74  #: disk full or I/O error; resumable
    LOCKED = 75  #: another run holds the ledger
    SIGHUP = 129  #: interrupted by SIGHUP; resumable
    SIGINT = 130  #: interrupted by SIGINT; resumable
    SIGTERM = 143  #: interrupted by SIGTERM; resumable


#: The classes a row can fail with: what report.json counts and --retry-failed takes.
FAILURES = {
    "truncated": "the answer was cut at its token limit",
    "content_filter": "the provider filtered the request or the answer",
    "refusal": "the model refused",
    "empty": "the answer had no text",
    "not_json": "the answer was no JSON object",
    "schema": "the answer did not fit the output schema",
    "check": "the pipeline's check found problems",
    "check_error": "the pipeline's check itself failed",
    "render": "the template could not be rendered for the row",
    "context_length": "the request was too long for the model",
    "too_many_tokens": "the request can never fit the tokens a minute",
    "rejected": "the provider rejected the request",
    "timeout": "no whole answer in time",
    "connection": "the connection could not be made, or was lost",
    "broken_reply": "status 200, but no chat completion",
    "overloaded": "the server had too much to do",
    "transient": "another fault of the server",
    "rate_limited": "too many requests or tokens a minute",
}


class LlmbatchError(Exception):
    """Anything llmbatch raises on purpose. ``hint`` says how to mend it."""

    exit_code: Exit = Exit.BUG

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UserError(LlmbatchError):
    """A mistake in usage, pipeline or input. Nothing was sent."""

    exit_code = Exit.USER_ERROR


class UsageError(UserError):
    """Flags that do not fit together or do not parse."""


class PipelineError(UserError):
    """The pipeline folder is not usable."""


class InputError(UserError):
    """The input is not usable; the message names file, line and column."""


class StorageError(LlmbatchError):
    """The disk is full, a file cannot be written, or the ledger cannot be read."""

    exit_code = Exit.STORAGE


class LedgerLocked(LlmbatchError):
    """Another run holds the ledger."""

    exit_code = Exit.LOCKED


class Stop(LlmbatchError):
    """The run ends early; what is done is kept and the same command resumes it."""

    status = "stopped"


class BudgetReached(Stop):
    """The next call's worst case does not fit the budget."""

    exit_code = Exit.BUDGET
    status = "budget_reached"


class DeadlineReached(Stop):
    """The time to stop has come."""

    exit_code = Exit.DEADLINE
    status = "deadline_reached"


class BelowFloor(Stop):
    """Too few gold rows were answered as they should be; the rows themselves were not sent."""

    exit_code = Exit.QUALITY
    status = "below_floor"


class ProviderDown(Stop):
    """The provider refuses every row, or has answered nothing for too long."""

    exit_code = Exit.PROVIDER
    status = "provider_down"


class Waiting(Stop):
    """Batches go on at the provider, and nobody waits for them."""

    exit_code = Exit.OK
    status = "waiting"


class NextTier(Stop):
    """One way of asking ends, and another one goes on with the rows that are left. No run ends with it."""


class Interrupted(Stop):
    """A signal asked the run to stop."""

    status = "interrupted"

    def __init__(self, exit_code: Exit) -> None:
        super().__init__(f"interrupted by {exit_code.name}")
        self.exit_code = exit_code


class Decision(LlmbatchError):
    """What a provider's fault means for one attempt. Raised only at the provider's gate.

    Attributes:
        outcome: the word the attempt is recorded under.
        failure: the class a row fails with when no attempt is left.
        retry_after: seconds the provider asked to wait; None when it named none.
        http_status: None when no answer came.
        latency_s: from sending to the fault.
        possibly_paid: the request was sent whole, and the provider may bill it.
        headers: rate-limit headers of the answer, lower-case names.
        sent: a call was made; False when it was turned away before.
    """

    outcome = "transient"
    failure = "transient"
    sent = True

    def __init__(
        self,
        message: str,
        *,
        failure: str | None = None,
        retry_after: float | None = None,
        http_status: int | None = None,
        latency_s: float = 0.0,
        possibly_paid: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.failure = failure or type(self).failure
        self.retry_after = retry_after
        self.http_status = http_status
        self.latency_s = latency_s
        self.possibly_paid = possibly_paid
        self.headers = headers or {}


class RateLimited(Decision):
    """Too many requests or tokens a minute: wait; it uses no attempt."""

    outcome = failure = "rate_limited"


class Unavailable(RateLimited):
    """The tier asked for has no capacity now, and the call is not billed: wait, or ask at another tier."""


class Transient(Decision):
    """A fault that may pass: a reset, a 5xx, an answer that is no answer."""


class Overloaded(Transient):
    """The server says that it has too much to do (503, 529): try again, later and slower."""

    failure = "overloaded"


class TimedOut(Transient):
    """No whole answer within the attempt's time; the provider may bill it."""

    outcome = failure = "timeout"


class Rejected(Decision):
    """The provider will never answer this row: too long, malformed, forbidden content."""

    outcome = failure = "rejected"


class Refused(Decision):
    """The provider will answer no row: bad key, spent quota, unknown model."""

    outcome = failure = "refused"
