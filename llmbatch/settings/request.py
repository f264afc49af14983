"""[request]: what is asked, and of which model or ladder of models."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from llmbatch.settings.table import Table

LADDER_SIGN = ">"  #: between the models of a ladder, where it is written as one name


def _no_ladder(name: str) -> str:
    if not name or LADDER_SIGN in name:
        raise ValueError(f"the name of a model, without {LADDER_SIGN!r}")
    return name


_ModelName = Annotated[str, AfterValidator(_no_ladder)]


class RequestSettings(Table):
    """[request]: what changes the answer; hashed into every key."""

    model: str = Field(min_length=1)
    ladder: tuple[_ModelName, ...] = ()  #: models, the cheapest first; a row goes up to the next one
    system: str | None = None
    params: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _begins_below(cls, told: Any) -> Any:
        """``model`` may be left out beside a ladder: it is the first of it."""
        ladder = told.get("ladder") if isinstance(told, dict) else None
        return {"model": ladder[0], **told} if isinstance(ladder, list | tuple) and ladder else told

    @model_validator(mode="after")
    def _is_a_ladder(self) -> Self:
        if self.ladder and (len(self.ladder) < 2 or len({*self.ladder}) < len(self.ladder)):
            raise ValueError("a ladder has two models or more, each once")
        if self.ladder and self.model != self.ladder[0]:
            raise ValueError(f"model is {self.model!r} and the ladder begins with {self.ladder[0]!r}; leave out model")
        return self

    @property
    def models(self) -> tuple[str, ...]:
        """The models that a row may be asked of, in their order."""
        return self.ladder or (self.model,)

    @property
    def asked(self) -> str:
        """The model, or the ladder, in words: ``small>large``."""
        return LADDER_SIGN.join(self.models)

    def hashed(self) -> dict[str, Any]:
        """What the prompt version takes of it; without a ladder as before there were any."""
        return self.model_dump(mode="json", exclude=None if self.ladder else {"ladder"})
