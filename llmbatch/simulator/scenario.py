"""A scenario: how the simulated server behaves. Frozen models, loaded from TOML; unknown keys are errors."""

from __future__ import annotations

import difflib
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from llmbatch.errors import UsageError
from llmbatch.settings.quality import Pattern
from llmbatch.simulator.batches.tables import Batches, BatchFault, Clock

#: Every kind of fault, and the parameters that it takes beside share, from_s, to_s, match and times.
KINDS: dict[str, frozenset[str]] = {
    kind: frozenset(parameters.split())
    for kind, parameters in {
        # answered in place of the model; not paid
        "rate_limited": "retry_after_s retry_after_form",
        "insufficient_quota": "",
        "bad_key": "",
        "forbidden": "",
        "unknown_model": "",
        "context_length": "",
        "bad_request": "",
        "flex_unavailable": "retry_after_s retry_after_form",
        "server_error": "status html retry_after_s retry_after_form",
        "structured_output_unsupported": "modes",
        "redirect": "location",
        "echo_key": "status",
        "html_200": "",
        "error_200": "",
        "null_200": "",
        "empty_200": "",
        # on the wire; not paid
        "reset_before": "",
        "hang": "seconds",
        # on the wire; paid
        "reset_mid": "",
        "reset_after_execution": "",
        "slow_body": "bytes_per_s",
        "wrong_length": "",
        # in the answer; paid
        "truncated": "",
        "content_filter": "",
        "refusal": "",
        "refusal_text": "",
        "empty": "",
        "null_content": "",
        "wrong_shape": "",
        "wrong_enum": "",
        "extra_key": "",
        "fenced": "",
        "prose": "",
        "nan": "",
        "duplicate_key": "",
        "not_json": "",
        "ignore_schema": "",
        "lone_surrogate": "",
        "nul": "",
        "big_answer": "size",
        "missing_usage": "",
        "negative_usage": "",
        "huge_usage": "",
        "other_tier": "tier",
        "other_model": "model",
        "no_choices": "",
        "content_parts": "",
        "tool_calls_only": "",
        "cut_json_body": "",
        "invalid_utf8": "",
    }.items()
}

RetryAfterForm = Literal["seconds", "ms", "date", "none", "junk"]
_ONE_OF_MANY = {"share", "from_s", "to_s", "match", "times", "kind"}


def _known_kind(kind: Any) -> Any:
    if kind in KINDS:
        return kind
    near = difflib.get_close_matches(str(kind), KINDS, n=1)
    raise ValueError(f"no such kind of fault; did you mean {near[0]!r}?" if near else "no such kind of fault")


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Fault(_Table):
    """[[fault]]: what goes wrong, how often, when and for which rows. The first that hits a request is applied."""

    kind: Annotated[str, BeforeValidator(_known_kind)]
    share: float = Field(default=1.0, ge=0, le=1)  #: probability for each ask of a request
    from_s: float | None = Field(default=None, ge=0)  #: seconds since the first request
    to_s: float | None = Field(default=None, ge=0)
    match: str | None = None  #: only requests whose first user message contains this
    times: int | None = Field(default=None, ge=1)  #: only the first so many asks of a request
    # parameters of single kinds; KINDS says which
    retry_after_s: float = 1.0  #: may be negative: some servers are wrong about the time
    retry_after_form: RetryAfterForm | None = None  #: default: seconds for rate_limited, none for server_error
    status: int | None = Field(default=None, ge=400, le=599)
    html: bool = False
    seconds: float | None = Field(default=None, ge=0)  #: of a hang; without it, for ever
    bytes_per_s: float = Field(default=100.0, gt=0)
    size: int = Field(default=2_000_000, ge=1)  #: characters of a big answer
    tier: str = "default"
    model: str = "other-model"
    location: str = "http://127.0.0.1:9/v1/chat/completions"
    modes: tuple[Literal["json_schema", "json_object"], ...] = ("json_schema",)

    @property
    def windowed(self) -> bool:
        """Whether it depends on the time."""
        return self.from_s is not None or self.to_s is not None

    def active(self, since_first_s: float) -> bool:
        """Whether its window is open."""
        return (self.from_s or 0.0) <= since_first_s and (self.to_s is None or since_first_s < self.to_s)

    @model_validator(mode="after")
    def _parameters_fit(self) -> Fault:
        if strange := sorted(self.model_fields_set - _ONE_OF_MANY - KINDS[self.kind]):
            takes = ", ".join(sorted(KINDS[self.kind])) or "no parameter"
            raise ValueError(f"{strange[0]!r} means nothing for kind {self.kind!r}, which takes {takes}")
        if self.to_s is not None and self.to_s <= (self.from_s or 0.0):
            raise ValueError("to_s is not after from_s")
        return self


class Latency(_Table):
    """[latency]: log-normal around the median, and more for each token of the answer."""

    median_ms: float = Field(default=0.0, ge=0)
    sigma: float = Field(default=0.0, ge=0, le=3)  #: of the logarithm; 0.5 puts the p95 at 2.3 medians
    per_output_token_ms: float = Field(default=0.0, ge=0)


class Limits(_Table):
    """[limits]: what the server allows, and what it says of it."""

    requests_per_minute: float | None = Field(default=None, gt=0)
    #: input is taken when a request comes in, output when it is answered; so the bucket may owe
    tokens_per_minute: float | None = Field(default=None, gt=0)
    burst_s: float = Field(default=60.0, gt=0)  #: the buckets start full and hold the allowance of so many seconds
    headers: bool = True  #: x-ratelimit-* on every answer
    retry_after_form: RetryAfterForm = "seconds"
    per_model: bool = False  #: each model has its own, as at OpenAI


class Server(_Table):
    """[server]: what runs at once, and who may ask."""

    slots: int | None = Field(default=None, ge=1)  #: executions at a time; further requests queue, first come first
    queue: int | None = Field(default=None, ge=0)  #: requests that may queue; further ones get a 503
    api_key: str | None = None  #: the only key accepted; without it, any and none
    models: tuple[str, ...] = ()  #: the only models served; without it, any
    brain: Literal["extract", "echo"] = "extract"  #: echo: the cheapest constant answer the schema allows
    cached_share: float = Field(default=0.0, ge=0, le=1)  #: part of the input tokens counted as cached


class Judging(_Table):
    """[model.NAME.judge]: the model is a judge, and as often right about answers as it is told."""

    right: Pattern  #: found in the user message when the (first) answer is right
    second: Pattern | None = None  #: of pairs: when the second one is
    sensitivity: float = Field(default=1.0, ge=0, le=1)  #: of right answers, those that it calls right
    specificity: float = Field(default=1.0, ge=0, le=1)  #: of wrong ones, those that it calls wrong
    prefers_first: float = Field(default=0.0, ge=0, le=1)  #: pairs of which it names the first, whatever they are


class Model(_Table):
    """[model.NAME]: how good a model is. One that has no table is as good as the brain."""

    error_rate: float = Field(default=0.0, ge=0, le=1)  #: rows about which it is wrong, with a valid answer
    invalid_rate: float = Field(default=0.0, ge=0, le=1)  #: answers that do not fit the schema
    judge: Judging | None = None


class Scenario(_Table):
    """A whole scenario. The default is a server without latency, limits or faults."""

    seed: int = 0
    latency: Latency = Latency()
    limits: Limits = Limits()
    server: Server = Server()
    clock: Clock = Clock()
    batches: Batches = Batches()
    model: dict[str, Model] = Field(default_factory=dict)
    fault: tuple[Fault, ...] = ()
    batch: tuple[BatchFault, ...] = ()


def built_in() -> list[str]:
    """The names of the scenarios that come with llmbatch."""
    folder = resources.files("llmbatch.simulator") / "scenarios"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_scenario(path_or_name: str | Path) -> Scenario:
    """Read a scenario file, or one of :func:`built_in` by name (``bad-night`` or ``bad-night.toml``).

    Raises:
        UsageError: no such scenario, no TOML, an unknown key (with the nearest known one) or an impossible value.
    """
    text = _read(path_or_name)
    try:
        return Scenario.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path_or_name}: not valid TOML: {error}") from None
    except ValidationError as error:
        raise UsageError("\n".join(f"{path_or_name}: {_problem(e)}" for e in error.errors())) from None


def _read(path_or_name: str | Path) -> str:
    path, name = Path(path_or_name), str(path_or_name).removesuffix(".toml")
    try:
        if not path.exists() and name in built_in():
            return (resources.files("llmbatch.simulator") / "scenarios" / f"{name}.toml").read_text(encoding="utf-8")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        hint = f"a TOML file, or one of: {', '.join(built_in())}"
        raise UsageError(f"cannot read scenario {str(path_or_name)!r}: {reason}", hint=hint) from None


def _problem(error: Any) -> str:
    """One pydantic error as ``fault[2].shre: unknown key; did you mean 'share'?``; faults count from 1."""
    loc = error["loc"]
    where = ".".join(str(p) for p in loc)
    if loc and loc[0] in ("fault", "batch") and len(loc) > 1 and isinstance(loc[1], int):
        where = ".".join([f"{loc[0]}[{loc[1] + 1}]", *(str(p) for p in loc[2:])])
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(loc[-1]), _keys_beside(loc), n=1)
        return f"{where}: unknown key" + (f"; did you mean {near[0]!r}?" if near else "")
    return f"{where}: {error['msg'].removeprefix('Value error, ')}"


def _keys_beside(loc: tuple[int | str, ...]) -> list[str]:
    tables: dict[int | str, type[BaseModel]] = {
        "latency": Latency,
        "limits": Limits,
        "server": Server,
        "fault": Fault,
        "clock": Clock,
        "batches": Batches,
        "batch": BatchFault,
        "model": Model,
    }
    return list((tables[loc[0]] if len(loc) > 1 else Scenario).model_fields)
