"""What every table of pipeline.toml is, and the kinds of values in them."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def _share_of_rows(text: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?%?", text) or (text.endswith("%") and float(text[:-1]) > 100):
        raise ValueError('a number of rows ("20") or a percentage of rows ("1%")')
    return text


#: "20" rows or "1%" of the rows
MaxFailed = Annotated[
    str, BeforeValidator(lambda v: str(v) if isinstance(v, int) else v), AfterValidator(_share_of_rows)
]


def exact(value: object) -> object:
    """A float as it was written, for a Decimal."""
    return str(value) if isinstance(value, float) else value


Dollars = Annotated[Decimal, Field(ge=0), BeforeValidator(exact)]


def _in_flight(value: object) -> object:
    if value == "auto" or (type(value) is int and 1 <= value <= 10_000):
        return value
    raise ValueError('"auto" or a whole number from 1 to 10,000')


Concurrency = Annotated[int | Literal["auto"], BeforeValidator(_in_flight)]


def name_of_variable(text: str) -> str:
    """Raises ValueError for what is rather a key than the name of a variable."""
    if not re.fullmatch(r"[A-Za-z_]\w{0,99}", text, re.ASCII) or (
        len(text) >= 16 and text.isalnum() and not text.isalpha()
    ):
        raise ValueError("the name of an environment variable, not the key itself")
    return text


def from_root_or_home(text: str) -> str:
    """Raises ValueError for a path that hangs on the folder one is in."""
    if not text.startswith(("/", "~/")):
        raise ValueError(
            "a path from the root or the home folder (/run/..., ~/...); a pipeline's folder is no place for a key"
        )
    return text


Share = Annotated[float, Field(ge=0, le=1)]


class Table(BaseModel):
    """A table: frozen, and an unknown key in it is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
