"""pipeline.toml as frozen models: names, types, defaults. Unknown keys are errors."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from llmbatch.settings.calls import BatchSettings, LimitSettings, ProviderSettings, RaySettings
from llmbatch.settings.prices import PriceFile, PriceSettings, TierPrice, TierPrices, TokenPrices
from llmbatch.settings.quality import ASKING, GRADERS, EmbeddingSettings, GraderSettings, JudgeSettings, QualitySettings
from llmbatch.settings.request import LADDER_SIGN, RequestSettings
from llmbatch.settings.table import Dollars, Table

__all__ = [
    "ASKING",
    "GRADERS",
    "LADDER_SIGN",
    "OFFLINE_MODEL",
    "BatchSettings",
    "BudgetSettings",
    "EmbeddingSettings",
    "GraderSettings",
    "InputSettings",
    "JudgeSettings",
    "LimitSettings",
    "OutputSettings",
    "PriceFile",
    "PriceSettings",
    "ProviderSettings",
    "QualitySettings",
    "RaySettings",
    "RequestSettings",
    "Settings",
    "TierPrice",
    "TierPrices",
    "TokenPrices",
]

#: The model that the offline provider is, whatever a pipeline names: its replies must never serve another's requests.
OFFLINE_MODEL = "offline/extractive-1"


class InputSettings(Table):
    """[input]: what a usable row is."""

    id: str | None = None
    require: tuple[str, ...] = ()
    max_chars: int | None = Field(default=None, ge=1)  #: of all text columns of a row together
    too_long: Literal["skip", "truncate"] = "skip"


class OutputSettings(Table):
    """[output]: how output fields become columns."""

    prefix: str = ""


class BudgetSettings(Table):
    """[budget]: what all runs of the pipeline together may spend, by the calendar of the machine's time zone."""

    per_day: Dollars | None = None
    per_month: Dollars | None = None


class Settings(Table):
    """A whole pipeline.toml."""

    label: str | None = None  #: a person's name for this prompt version
    request: RequestSettings
    input: InputSettings = InputSettings()
    output: OutputSettings = OutputSettings()
    provider: ProviderSettings = ProviderSettings()
    limits: LimitSettings = LimitSettings()
    budget: BudgetSettings = BudgetSettings()
    batch: BatchSettings = BatchSettings()
    ray: RaySettings = RaySettings()
    prices: dict[str, PriceSettings] = Field(default_factory=dict)
    quality: QualitySettings = QualitySettings()
    certificate: dict[str, str | int | float] = Field(default_factory=dict)  #: of `compare --write`, for people

    @model_validator(mode="after")
    def _floors_have_a_ladder(self) -> Self:
        if not self.request.ladder and self.provider.kind != "offline":
            for name, told in self.quality.graders.items():
                if told.climb_below is not None:
                    raise ValueError(f"grader {name!r} has climb_below, and [request] has no ladder to climb")
        return self
