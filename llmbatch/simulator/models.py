"""Models of known quality: how often each of them is wrong, by a seeded hash, so that nothing hangs on the order."""

from __future__ import annotations

from collections.abc import Mapping

from llmbatch.simulator.asked import Asked
from llmbatch.simulator.brain import BRAINS, Brain
from llmbatch.simulator.embeddings import FORMAT
from llmbatch.simulator.judges import opinion
from llmbatch.simulator.plan import draw
from llmbatch.simulator.scenario import Model, Scenario
from llmbatch.types import Json

_WRONG, _INVALID = -1, -2  #: in place of a fault's number
_SOUND = Model()  #: what a model is of which the scenario says nothing: never wrong


class Playing:
    """A brain that answers for each model of the scenario as well as that model does; for others as it can."""

    def __init__(self, brain: Brain, scenario: Scenario) -> None:
        self._brain = brain
        self._seed = scenario.seed
        self._models = scenario.model

    def answer(self, asked: Asked) -> dict[str, Json]:
        """The brain's answer, or one that is wrong or does not fit the schema.

        Whether a model is wrong about a row is the row's own: asking again does not mend it. Whether its answer is
        invalid is drawn for each ask.
        """
        right, played = self._brain.answer(asked), self.played(asked)
        if played == "invalid":
            return {}
        judge = self._models.get(asked.model, _SOUND).judge
        if judge is not None:
            return opinion(right, asked, judge, self._seed)
        return mistaken(right, asked.schema) if played == "wrong" else right

    def played(self, asked: Asked) -> str | None:
        """What the model's rates make of a request: wrong, invalid, or None, as always for embeddings."""
        if asked.response_format == FORMAT:
            return None
        model = self._models.get(asked.model, _SOUND)
        who = f"{asked.model}:{asked.user_hash}"
        if draw(self._seed, _INVALID, who, len(asked.messages)) < model.invalid_rate:
            return "invalid"
        if model.judge is not None:
            return None
        return "wrong" if draw(self._seed, _WRONG, who, 0) < model.error_rate else None

    def tokens(self, text: str) -> int:
        """The brain's count."""
        return self._brain.tokens(text)


def playing(scenario: Scenario) -> Brain:
    """The brain of a scenario."""
    brain = BRAINS[scenario.server.brain]()
    return Playing(brain, scenario) if scenario.model else brain


def mistaken(answer: Mapping[str, Json], schema: Mapping[str, Json]) -> dict[str, Json]:
    """The answer with every value another one that the schema's lists and types allow."""
    told = schema.get("properties", {})
    return {name: _other(value, told.get(name, {})) for name, value in answer.items()}


def _other(value: Json, schema: Json) -> Json:
    if isinstance(schema, dict) and isinstance(schema.get("enum"), list):
        return next((other for other in schema["enum"] if other != value), value)
    if isinstance(value, list):
        items = schema.get("items", {}) if isinstance(schema, dict) else {}
        others = [other for other in items.get("enum", ()) if other not in value]
        return others[: len(value)] or [_other(each, items) for each in value]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return f"not {value}" if isinstance(value, str) else value
