"""pipeline.toml as frozen models: names, types, defaults. Unknown keys are errors."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _share_of_rows(text: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?%?", text) or (text.endswith("%") and float(text[:-1]) > 100):
        raise ValueError('a number of rows ("20") or a percentage of rows ("1%")')
    return text


#: "20" rows or "1%" of the rows
MaxFailed = Annotated[
    str, BeforeValidator(lambda v: str(v) if isinstance(v, int) else v), AfterValidator(_share_of_rows)
]


def _exact(value: object) -> object:
    """A float as it was written, for a Decimal."""
    return str(value) if isinstance(value, float) else value


Dollars = Annotated[Decimal, Field(ge=0), BeforeValidator(_exact)]


def _in_flight(value: object) -> object:
    if value == "auto" or (type(value) is int and 1 <= value <= 10_000):
        return value
    raise ValueError('"auto" or a whole number from 1 to 10,000')


Concurrency = Annotated[int | Literal["auto"], BeforeValidator(_in_flight)]


def _name_of_variable(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w{0,99}", text, re.ASCII) or (
        len(text) >= 16 and text.isalnum() and not text.isalpha()
    ):
        raise ValueError("the name of an environment variable, not the key itself")
    return text


def _from_root_or_home(text: str) -> str:
    if not text.startswith(("/", "~/")):
        raise ValueError(
            "a path from the root or the home folder (/run/..., ~/...); a pipeline's folder is no place for a key"
        )
    return text


#: The model that the offline provider is, whatever a pipeline names: its replies must never serve another's requests.
OFFLINE_MODEL = "offline/extractive-1"


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RequestSettings(_Table):
    """[request]: what changes the answer; hashed into every key."""

    model: str = Field(min_length=1)
    system: str | None = None
    params: dict[str, Any] = Field(default_factory=dict)


class InputSettings(_Table):
    """[input]: what a usable row is."""

    id: str | None = None
    require: tuple[str, ...] = ()
    max_chars: int | None = Field(default=None, ge=1)  #: of all text columns of a row together
    too_long: Literal["skip", "truncate"] = "skip"


class OutputSettings(_Table):
    """[output]: how output fields become columns."""

    prefix: str = ""


class ProviderSettings(_Table):
    """[provider]: where and how; not hashed."""

    kind: Literal["openai", "offline"] = "openai"
    base_url: str | None = None
    allow_insecure: bool = False  #: http to another machine
    api_key_env: Annotated[str, AfterValidator(_name_of_variable)] = "OPENAI_API_KEY"
    api_key_file: Annotated[str, AfterValidator(_from_root_or_home)] | None = None  #: in place of the variable
    like: str | None = None  #: the provider of capabilities.toml whose batches and tiers the server has

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.api_key_file is not None and "api_key_env" in self.model_fields_set:
            raise ValueError("api_key_env and api_key_file are both set; which one holds the key?")
        return self


class LimitSettings(_Table):
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
    tier: Literal["standard", "flex", "batch"] = "standard"
    flex_timeout_s: float = Field(default=900, gt=0)  #: one attempt at tier flex
    flex_fallback: bool = False  #: a row for which flex has no capacity is asked at the standard tier

    @property
    def attempt_s(self) -> float:
        """Seconds that one attempt may take."""
        return self.flex_timeout_s if self.tier == "flex" else self.timeout_s


class BatchSettings(_Table):
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
    live_below: int = Field(default=0, ge=0)  #: fewer rows left after the first batches are asked one by one


class BudgetSettings(_Table):
    """[budget]: what all runs of the pipeline together may spend, by the calendar of the machine's time zone."""

    per_day: Dollars | None = None
    per_month: Dollars | None = None


class TokenPrices(_Table):
    """Dollars per million tokens."""

    input: Dollars | None = None
    output: Dollars | None = None
    cached: Dollars | None = None  #: else as input
    cache_write: Dollars | None = None  #: else as input
    reasoning: Dollars | None = None  #: else as output


class TierPrices(TokenPrices):
    """[prices.MODEL.TIER]: the price at a tier."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.input is None or self.output is None:
            raise ValueError("a price needs input and output")
        return self


#: prices of their own, or what the standard ones are to be multiplied by
TierPrice = Annotated[Decimal, Field(gt=0), BeforeValidator(_exact)] | TierPrices


class PriceSettings(TokenPrices):
    """[prices.MODEL]: by the token or by the hour, for models no table knows."""

    usd_per_hour: Dollars | None = None  #: of all machines that serve it; in place of prices by the token
    flex: TierPrice | None = None
    batch: TierPrice | None = None
    priority: TierPrice | None = None

    @model_validator(mode="after")
    def _by_token_or_by_hour(self) -> Self:
        if self.usd_per_hour is None:
            if self.input is None or self.output is None:
                raise ValueError("a price needs input and output, or usd_per_hour alone")
        elif self.model_fields_set != {"usd_per_hour"}:
            raise ValueError("usd_per_hour stands alone: either the hour costs or the tokens do")
        return self


def _a_pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from None
    return text


Pattern = Annotated[str, AfterValidator(_a_pattern)]
Share = Annotated[float, Field(ge=0, le=1)]

#: What each kind of grader must be told beside its kind, and what it may be told.
GRADERS: dict[str, tuple[set[str], set[str]]] = {
    "exact": ({"field", "gold"}, {"ignore_case"}),
    "set": ({"field", "gold"}, {"ignore_case"}),
    "rouge": ({"field", "gold"}, set()),
    "grounded": ({"field", "source"}, set()),
    "length": ({"field"}, {"least", "most", "unit"}),
    "compression": ({"field", "source"}, {"least", "most"}),
    "pattern": ({"field"}, {"must", "must_not", "ignore_case"}),
    "python": (set(), set()),
}


class GraderSettings(_Table):
    """[quality.graders.NAME]: one way to say how good a valid output is, from 0 to 1."""

    kind: Literal["exact", "set", "rouge", "grounded", "length", "compression", "pattern", "python"]
    field: str | None = None  #: of the output
    gold: str | None = None  #: column of the row that holds what is right; never shown to the model
    source: tuple[str, ...] = ()  #: columns of the row that the output is drawn from
    least: float | None = Field(default=None, ge=0)
    most: float | None = Field(default=None, gt=0)
    unit: Literal["chars", "words"] = "chars"
    must: tuple[Pattern, ...] = ()
    must_not: tuple[Pattern, ...] = ()
    ignore_case: bool = False
    passes: Share = 1.0  #: the score from which a row counts as right
    floor: Share | None = None  #: the mean score below which the run fails, exit 7

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        needs, may = GRADERS[self.kind]
        told = self.model_fields_set - {"kind", "passes", "floor"}
        if missing := sorted(needs - told):
            raise ValueError(f'a grader of kind "{self.kind}" needs {", ".join(missing)}')
        if strange := sorted(told - needs - may):
            raise ValueError(f'a grader of kind "{self.kind}" takes no {", ".join(strange)}')
        if self.kind == "pattern" and not (self.must or self.must_not):
            raise ValueError('a grader of kind "pattern" needs must or must_not')
        return self


class QualitySettings(_Table):
    """[quality]: how good outputs must be; not hashed."""

    on_drift: Literal["warn", "fail", "off"] = "warn"
    trailing: int = Field(default=14, ge=1, le=60)  #: runs before this one to compare with
    min_change: Share = 0.01  #: a share or score that moved less is no alarm, however many rows show it
    rows: int = Field(
        default=5_000, ge=100
    )  #: of the newly answered rows, and of all, graded at most; chosen by their keys
    gold: str | None = None  #: file of rows with gold, in the pipeline's folder; they are asked first
    floor: Share | None = None  #: of gold rows that must be answered as they should be
    graders: dict[str, GraderSettings] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _canary_is_whole(self) -> Self:
        if (self.gold is None) != (self.floor is None):
            raise ValueError("gold (the file) and floor (the share of its rows that must agree) go together")
        if self.gold is not None and all(grader.gold is None for grader in self.graders.values()):
            raise ValueError("gold rows need a grader with a gold column to hold answers against")
        return self


class PriceFile(_Table):
    """A file of prices beside the pipeline's."""

    prices: dict[str, PriceSettings]


class Settings(_Table):
    """A whole pipeline.toml."""

    label: str | None = None  #: a person's name for this prompt version
    request: RequestSettings
    input: InputSettings = InputSettings()
    output: OutputSettings = OutputSettings()
    provider: ProviderSettings = ProviderSettings()
    limits: LimitSettings = LimitSettings()
    budget: BudgetSettings = BudgetSettings()
    batch: BatchSettings = BatchSettings()
    prices: dict[str, PriceSettings] = Field(default_factory=dict)
    quality: QualitySettings = QualitySettings()
    certificate: dict[str, str | int | float] = Field(default_factory=dict)  #: of `compare --write`, for people
