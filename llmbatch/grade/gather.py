"""Gathers a run's profile and scores: from its replies as they are judged, from its rows as results are written."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson

from llmbatch.extract.words import guess_language
from llmbatch.grade.profile import Mix, Profile, Rate
from llmbatch.grade.score import Columns, Grader, Output, text_of
from llmbatch.grade.scores import Graded, Scores
from llmbatch.settings import QualitySettings
from llmbatch.types import Json, Reply, Verdict

_BUCKETS_PER_OCTAVE = 16
_MOST_VALUES = 200  #: different values of a mix; the others are one
_LANGUAGES = 500  #: rows whose language is guessed, which takes longest
_LANGUAGE_CHARS = 400
_OTHERS = "(other)"
#: classes of invalid replies: the rates that they count for
_RATES = {
    "not_json": "bad_format",
    "schema": "bad_format",
    "check": "failed_check",
    "refusal": "refusal",
    "content_filter": "refusal",
    "truncated": "truncated",
    "empty": "empty",
}


@dataclass(slots=True)
class Gathered:
    """Counts of one run, in constant memory. An observer's ``judged``, and ``take`` for each row.

    ``fields`` are the output's fields with a closed list of values, and the lists.
    """

    graders: Mapping[str, Grader]
    settings: QualitySettings
    fields: Mapping[str, frozenset[str]]
    replies: int = 0  #: first replies to a request
    invalid: Counter[str] = field(default_factory=Counter)
    rows: int = 0  #: newly answered or newly failed
    failed: int = 0
    climbed: int = 0  #: that ended above the first model of the ladder
    mixes: dict[str, Counter[str]] = field(default_factory=dict)
    of: Counter[str] = field(default_factory=Counter)  #: rows behind each mix
    spreads: dict[str, Counter[int]] = field(default_factory=dict)
    fresh: dict[str, Scores] = field(default_factory=dict)  #: of newly answered rows
    whole: dict[str, Scores] = field(default_factory=dict)  #: of all rows
    ladder: tuple[str, ...] = ()  #: models, when there are several
    by_rung: dict[tuple[int, str], Scores] = field(default_factory=dict)  #: of all rows, by where they ended on it

    def __post_init__(self) -> None:
        for name in self.graders:
            told = self.settings.graders[name]
            self.fresh[name] = Scores(name, told.passes)
            self.whole[name] = Scores(name, told.passes, told.floor)

    # --- replies -------------------------------------------------------------------------------------------------

    def judged(self, reply: Reply, verdict: Verdict) -> None:
        """Count a reply that this run paid for; of re-asks only what each reply costs and takes."""
        self._mix("model", [reply.model or "unknown"])
        self._mix("fingerprint", [reply.fingerprint or "none"])
        self._spread("latency_ms", reply.latency_s * 1000)
        if reply.usage is not None:
            self._spread("input_tokens", reply.usage.input)
            self._spread("output_tokens", reply.usage.output)
        if reply.number > 1:
            return
        self.replies += 1
        self.invalid["repaired"] += verdict.repaired
        if verdict.failure is not None:
            self.invalid["invalid"] += 1
            self.invalid[_RATES.get(verdict.failure, "failed_check")] += 1
            self.invalid["off_list"] += verdict.failure == "schema" and self._off_list(reply)

    def _off_list(self, reply: Reply) -> bool:
        """Whether a reply that does not fit the schema has a value outside of a closed list."""
        try:
            output = orjson.loads(reply.text or "")
        except orjson.JSONDecodeError:
            return False
        return isinstance(output, dict) and any(
            not allowed.issuperset(_values(output[name])) for name, allowed in self.fields.items() if name in output
        )

    # --- rows ----------------------------------------------------------------------------------------------------

    def take(
        self, row: Columns, output: Output | None, place: float, *, asked: bool, rates: Rates, rung: int = 0
    ) -> None:
        """Count a row that was answered or failed: ``output`` is None when it failed.

        ``asked``: this night made a call for it. ``place`` is the row's own number from 0 to 1, the same every night,
        by which a part of many rows is chosen. ``rung``: the place of the model that it ended at on the ladder.
        """
        if asked:
            self.rows += 1
            self.failed += output is None
            self.climbed += rung > 0
        fresh, whole = asked and place < rates.fresh, place < rates.whole
        if fresh:
            self._profile(row, output, place < rates.language)
        if fresh or whole:
            for name, grader in self.graders.items():
                score = grader.grade(output, row)
                if whole and self.ladder:
                    self.by_rung.setdefault((rung, name), Scores(name)).add(score, failed=output is None)
                for wanted, scores in ((fresh, self.fresh[name]), (whole, self.whole[name])):
                    if wanted:
                        scores.add(score, failed=output is None)

    def _profile(self, row: Columns, output: Output | None, language: bool) -> None:
        text = "\n".join(value for value in row.values() if isinstance(value, str))
        self._spread("input_chars", len(text))
        if language:
            self._mix("language", [guess_language(text[:_LANGUAGE_CHARS])])
        if output is None:
            return
        self._spread("output_chars", len(text_of(dict(output))))
        for name in self.fields:
            self._mix(name, _values(output.get(name)))

    def priced(self, dollars: Decimal | None) -> None:
        """Count what the night paid for a newly answered row; unknown prices are left out."""
        if dollars is not None:
            self._spread("micro_usd", float(dollars) * 1e6)

    def _mix(self, name: str, values: list[str]) -> None:
        counts = self.mixes.setdefault(name, Counter())
        self.of[name] += 1
        for value in values:
            counts[value if value in counts or len(counts) < _MOST_VALUES else _OTHERS] += 1

    def _spread(self, name: str, value: float) -> None:
        self.spreads.setdefault(name, Counter())[round(math.log2(max(value, 1e-6)) * _BUCKETS_PER_OCTAVE)] += 1

    # --- results -------------------------------------------------------------------------------------------------

    def profile(self) -> Profile:
        """What to keep and compare."""
        names = ("invalid", *dict.fromkeys(_RATES.values()), "off_list", "repaired")
        rates = {name: Rate(self.invalid[name], self.replies) for name in names}
        rates["failed"] = Rate(self.failed, self.rows)
        if self.ladder:
            rates["climbed"] = Rate(self.climbed, self.rows)
        return Profile(
            rows=self.rows,
            rates=rates,
            scores={name: scores.counts for name, scores in self.fresh.items()},
            mixes={name: Mix(self.of[name], counts) for name, counts in self.mixes.items()},
            spreads=dict(self.spreads),
        )

    def graded(self) -> tuple[Graded, ...]:
        """What the graders say of all rows."""
        return tuple(scores.graded() for scores in self.whole.values())


@dataclass(frozen=True, slots=True)
class Rates:
    """Which part of the rows is looked at, so that a million do not take hours: those whose place is below."""

    fresh: float  #: newly answered ones
    whole: float  #: all
    language: float

    @classmethod
    def of(cls, total: int, fresh: int, most: int) -> Rates:
        """For so many rows, of which about so many are newly answered."""
        return cls(
            fresh=min(1.0, most / max(1, fresh)),
            whole=min(1.0, most / max(1, total)),
            language=min(1.0, _LANGUAGES / max(1, fresh)),
        )


def place(key: str | None, row_no: int) -> float:
    """A row's own number from 0 to 1: from its key, so that the same request is always in or out."""
    return int(key[:8], 16) / 2**32 if key else (row_no * 2654435761 % 2**32) / 2**32


def closed_lists(schema: Mapping[str, Json]) -> dict[str, frozenset[str]]:
    """The output's top-level fields whose values, or whose items, are from a closed list (enum, const or boolean)."""
    found = {}
    for name, told in (schema.get("properties") or {}).items():
        inner: Any = told.get("items", told) if isinstance(told, dict) else {}
        if isinstance(inner, dict) and inner.get("type") == "boolean":
            found[name] = frozenset({"true", "false"})
        elif isinstance(inner, dict) and isinstance(inner.get("enum"), list):
            found[name] = frozenset(map(_word, inner["enum"]))
    return found


def _values(value: Json) -> list[str]:
    return sorted({_word(each) for each in (value if isinstance(value, list) else [value])})


def _word(value: Json) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
