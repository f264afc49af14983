"""Whom to ask, how fast, and for how much: the tables that any call needs."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from llmbatch.settings.table import Concurrency, Dollars, MaxFailed, Table, from_root_or_home, name_of_variable


def _answers(kind: str) -> str:
    if kind == "embeddings":
        raise ValueError('"openai" or "offline"')
    return kind


class ProviderSettings(Table):
    """[provider]: where and how; not hashed."""

    #: "embeddings" is how graders of similarity ask; no pipeline can
    kind: Annotated[Literal["openai", "offline", "embeddings"], AfterValidator(_answers)] = "openai"
    base_url: str | None = None
    allow_insecure: bool = False  #: http to another machine
    api_key_env: Annotated[str, AfterValidator(name_of_variable)] = "OPENAI_API_KEY"
    api_key_file: Annotated[str, AfterValidator(from_root_or_home)] | None = None  #: in place of the variable
    like: str | None = None  #: the provider of capabilities.toml whose batches and tiers the server has

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.api_key_file is not None and "api_key_env" in self.model_fields_set:
            raise ValueError("api_key_env and api_key_file are both set; which one holds the key?")
        return self


class LimitSettings(Table):
    """[limits]: speed and bill; not hashed."""

    concurrency: Concurrency = "auto"
    requests_per_minute: float | None = Field(default=None, gt=0)
    tokens_per_minute: float | None = Field(default=None, gt=0)
    share: float = Field(default=1.0, gt=0, le=1)
    timeout_s: float = Field(default=60, gt=0)
    max_attempts: int = Field(default=4, ge=1, le=100)
    outage_patience_s: float = Field(default=900, ge=0)
    budget_usd: Dollars | None = None
    max_failed: MaxFailed = "1%"
    hedge: bool = False
    tier: Literal["standard", "flex", "batch", "auto"] = "standard"
    flex_timeout_s: float = Field(default=900, gt=0)  #: one attempt at tier flex
    flex_fallback: bool = False  #: a row for which flex has no capacity is asked at the standard tier

    @property
    def attempt_s(self) -> float:
        """Seconds that one attempt may take."""
        return self.flex_timeout_s if self.tier in ("flex", "auto") else self.timeout_s


class BatchSettings(Table):
    """[batch]: how large provider batches are, and how often they are looked at; not hashed.

    Sizes that are not set are those of the provider's table, capabilities.toml.
    """

    requests: int | None = Field(default=None, ge=1)  #: of a file
    bytes: int | None = Field(default=None, ge=1)  #: of a file
    enqueued_tokens: int | None = Field(default=None, ge=1)  #: estimated, of all open batches
    in_flight: int = Field(default=8, ge=1)  #: open batches
    window: str | None = None  #: completion_window
    poll_s: float = Field(default=120, gt=0)  #: the longest pause between two looks
    listing_lag_s: float = Field(
        default=60, ge=0
    )  #: the provider lists a batch at the latest so long after it was made
    cancel_s: float = Field(default=600, ge=0)  #: a batch that is cancelled has ended by then
    live_below: int = Field(default=0, ge=0)  #: fewer rows left after the first batches are asked one by one


class RaySettings(Table):
    """[ray]: how many workers of --engine ray answer, and where; not hashed."""

    address: str | None = None  #: of a cluster: auto or HOST:PORT; None: RAY_ADDRESS, else one of this machine's own
    workers: int | None = Field(default=None, ge=1, le=1_000)  #: None: one a machine, two at least
    in_flight: int = Field(default=256, ge=1, le=10_000)  #: requests that one worker has in hand at most
    cpus: float = Field(default=1, ge=0)  #: of the cluster's, reserved for each worker
