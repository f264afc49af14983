"""[prices.MODEL]: what models cost that no table knows."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from llmbatch.settings.table import Dollars, Table, exact


class TokenPrices(Table):
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
TierPrice = Annotated[Decimal, Field(gt=0), BeforeValidator(exact)] | TierPrices


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


class PriceFile(Table):
    """A file of prices beside the pipeline's."""

    prices: dict[str, PriceSettings]
