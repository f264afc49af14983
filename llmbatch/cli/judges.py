"""Graders of kind "judge": what their model is asked about a run, and what it said."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import duckdb
import orjson

from llmbatch import ledger as ledgers
from llmbatch.cli.answers import answer_of
from llmbatch.cli.graded import Population, Stored, by_id, identity
from llmbatch.cli.side import Said, Side, rows_of, settings_of
from llmbatch.errors import InputError, PipelineError, UsageError
from llmbatch.grade import Asked, Graded, Opinion, judged, opinion, schema_of
from llmbatch.grade.opinion import NAMES, SHOWN, SYSTEM, Ask
from llmbatch.ledger import Begun, Run
from llmbatch.pipeline import Pipeline
from llmbatch.settings import GraderSettings, JudgeSettings
from llmbatch.sink import Answer
from llmbatch.types import Json, Row

_KEY = "llmbatch_key"
_WINDOW = 50  #: rows of another run that are read from the ledger at once, however few of them are wanted
_WORDS = {"right": 1.0, "wrong": 0.0}


@dataclass(slots=True)
class Case:
    """What one grader that asks a model works on."""

    name: str
    told: GraderSettings
    population: Population
    side: Side
    questions: int  #: about each row
    read: Callable[[Sequence[Mapping[str, Json]]], Opinion]  #: from the valid answers to all of them
    human: dict[int, float] = field(default_factory=dict)  #: labels by row_no
    stale: int = 0  #: labels of an answer that the run does not have
    settled: dict[int, float] = field(default_factory=dict)  #: by row_no, what is known without asking
    drawn: frozenset[int] = frozenset()
    same_model: bool = False

    def graded(self, said: Mapping[int, Said]) -> Graded:
        """The grader's figures, from what its model said."""
        asked = {row.row_no // 2 for row in self.side.rows} | set(self.settled)
        opinions = [self._opinion(row_no, said) for row_no in sorted(asked)]
        known = Asked(
            name=self.name,
            model=self.side.pipeline.settings.request.model,
            ask=self.told.ask if self.told.kind == "judge" else "similarity",
            answered=self.population.answered,
            failed=self.population.failed,
            ungraded=self.population.ungraded,
            passes=self.told.passes,
            floor=self.told.floor,
            same_model=self.same_model,
        )
        return judged(known, opinions)

    def _opinion(self, row_no: int, said: Mapping[int, Said]) -> Opinion:
        human, drawn = self.human.get(row_no), row_no in self.drawn
        if row_no in self.settled:
            return Opinion(self.settled[row_no], human=human, drawn=drawn)
        numbers = (2 * row_no, 2 * row_no + 1)[: self.questions]
        answers = [said.get(number, Said(None, "not asked")) for number in numbers]
        outputs = [answer.output for answer in answers if answer.output is not None]
        if len(outputs) < len(numbers):
            failure = next(answer.failure for answer in answers if answer.output is None)
            return Opinion(None, failure or "not asked", human=human, drawn=drawn)
        return replace(self.read(outputs), human=human, drawn=drawn)


def names_of(pipeline: Pipeline) -> list[str]:
    """The graders that ask a judge."""
    return [name for name, told in pipeline.settings.quality.graders.items() if told.kind == "judge"]


def labels_of(pipeline: Pipeline, file: str | None) -> dict[str, dict[str, dict[str, Json]]]:
    """The rows of a file of human labels, by grader and by id. Raises UserError."""
    names = names_of(pipeline)
    if file is None:
        return {}
    rows = by_id(pipeline, file, "--labels")
    found = {
        name: {key: row for key, row in rows.items() if row.get(name) is not None and row.get(name) != ""}
        for name in names
    }
    if not any(found.values()):
        what = (
            f"named as a judge: {', '.join(names)}"
            if names
            else "to label: pipeline.toml names no grader that asks a judge"
        )
        raise UsageError(f"{file} has no column {what}", hint="a column with the grader's name says what people think")
    return found


def case(
    con: duckdb.DuckDBPyConnection,
    stored: Stored,
    name: str,
    population: Population,
    labels: Mapping[str, Mapping[str, Json]],
    against: Begun | None,
) -> Case:
    """Everything that a judge is to be asked. Raises UserError."""
    pipeline, told = stored.pipeline, stored.pipeline.settings.quality.graders[name]
    assert pipeline.settings.quality.judge is not None  # see settings
    if told.ask == "pair" and against is None and told.gold is None:
        raise UsageError(
            f"grader {name!r} compares pairs, and has nothing to compare with",
            hint='name another run with --against RUN, or the column of a reference answer: gold = "..."',
        )
    side = Side(name, stored.found.run.run_id, _asking(pipeline, told, pipeline.settings.quality.judge), ())
    questions = 2 if told.ask == "pair" else 1
    made = Case(name, told, population, side, questions, partial(opinion, told.ask), drawn=frozenset(population.drawn))
    other = against if told.ask == "pair" else None
    asks = list(_asks(con, stored, made, labels, other))
    made.side = replace(side, rows=rows_of(iter(asks)))
    return made


def _asking(pipeline: Pipeline, told: GraderSettings, judge: JudgeSettings) -> Pipeline:
    """The judge as a pipeline. Raises PipelineError for a rubric that does not show what is to be judged."""
    from llmbatch.render import Renderer

    file = told.rubric or ""
    system = SYSTEM if judge.system is None else judge.system
    made = pipeline.aside(settings_of(pipeline, judge, system), pipeline.read(file), schema_of(told.ask), file)
    named = Renderer(made).variables()
    if strange := sorted(named - set(NAMES[told.ask])):
        raise PipelineError(
            f"{pipeline.folder / file} names {strange[0]!r}, which a rubric is not given",
            hint=f"it may name {', '.join(NAMES[told.ask])}; the row's columns are row.NAME",
        )
    for group in SHOWN[told.ask]:
        if not named & set(group):
            shown = " or ".join(f"{{{{ {one} }}}}" for one in group)
            raise PipelineError(f"{pipeline.folder / file} does not show what is to be judged: it lacks {shown}")
    if "reference" in named and told.gold is None:
        raise PipelineError(f"{pipeline.folder / file} shows the reference, and the grader names no gold column for it")
    return made


def _asks(
    con: duckdb.DuckDBPyConnection,
    stored: Stored,
    made: Case,
    labels: Mapping[str, Mapping[str, Json]],
    against: Begun | None,
) -> Iterator[tuple[int, dict[str, Json]]]:
    """What the judge's template is given, of every row that is drawn or labelled."""
    told, asked = made.told, made.drawn | made.population.labelled
    hidden = {one.gold for one in stored.pipeline.settings.quality.graders.values() if one.gold is not None}
    others = {}
    if against is not None:
        others = _others(con, against.run, _numbers(con, stored, asked, against), told.field)
    for row, answer in stored.rows(con):
        if row.row_no not in asked or answer.output is None or (told.gold and row.columns.get(told.gold) is None):
            continue
        _label(made, stored.pipeline, row, answer, labels)
        if row.row_no not in made.drawn and row.row_no not in made.human:
            continue
        made.same_model |= _same(answer.model, made.side.pipeline.settings.request.model)
        columns = {name: value for name, value in row.columns.items() if name not in hidden}
        own = _shown(answer.output if told.field is None else answer.output.get(told.field))
        reference = _shown(row.columns.get(told.gold)) if told.gold is not None else None
        if told.ask != "pair":
            yield 2 * row.row_no, {"row": columns, "answer": own, "output": answer.output, "reference": reference}
            continue
        other = reference if against is None else others.get(row.row_no)
        if other is None or other == own:  # nothing to compare with, or nothing to choose
            made.settled[row.row_no] = 1.0 if other is None else 0.5
            continue
        yield 2 * row.row_no, {"row": columns, "first": own, "second": other}
        yield 2 * row.row_no + 1, {"row": columns, "first": other, "second": own}


def _shown(value: Json) -> str:
    """A value as a judge reads it: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode()


def _same(returned: str | None, judge: str) -> bool:
    """Whether the answer is of the judge itself, or of a dated snapshot of it."""
    return returned is not None and re.fullmatch(re.escape(judge) + r"(-\d[\d-]*)?", returned) is not None


def _label(made: Case, pipeline: Pipeline, row: Row, answer: Answer, labels: Mapping[str, Mapping[str, Json]]) -> None:
    """Take in a row's label. One that names another request is of an answer that this run does not have."""
    mine = labels.get(identity(pipeline, row))
    if mine is None:
        return
    if mine.get(_KEY) not in (None, "", answer.key):
        made.stale += 1
        return
    value = _number(mine[made.name], made.told.ask)
    if value is None:
        wanted = {"verdict": "true or false, right or wrong", "score": "1 to 5", "pair": "1 (better), 0.5 or 0"}
        raise InputError(
            f"--labels: row {identity(pipeline, row)!r}: {made.name} is {str(mine[made.name])[:40]!r}",
            hint=f"a label of a grader that asks for a {made.told.ask} is {wanted[made.told.ask]}",
        )
    made.human[row.row_no] = value


def _number(label: Any, ask: Ask) -> float | None:
    """A label on the scale of scores, 0 to 1; None when it is none."""
    if isinstance(label, str):
        label = _WORDS.get(label.strip().lower(), label)
    try:
        value = float(label)
    except (TypeError, ValueError):
        return None
    if ask == "score":
        value = (value - 1) / 4
    return value if 0 <= value <= 1 and (ask != "verdict" or value in (0.0, 1.0)) else None


def _numbers(con: duckdb.DuckDBPyConnection, stored: Stored, asked: Collection[int], against: Begun) -> dict[int, int]:
    """The rows of the other run that are the same as those asked about, by id, else by number."""
    by_id = stored.pipeline.settings.input.id is not None
    if not by_id and stored.found.fingerprint != against.fingerprint:
        raise UsageError(
            f"run {against.run.run_id} read another input, and without an id column rows cannot be told to be the same"
        )
    return ledgers.same_rows(con, stored.found.run.run_no, against.run.run_no, asked, by_id=by_id)


def _others(con: duckdb.DuckDBPyConnection, run: Run, numbers: Mapping[int, int], name: str | None) -> dict[int, str]:
    """The other run's answers, by the row_no here; rows without one are absent. ``numbers`` are those there by here."""
    asked, shown = set(numbers.values()), {}
    for low in sorted({row_no - row_no % _WINDOW for row_no in asked}):
        found = ledgers.answers_between(con, run, low, low + _WINDOW)
        for row_no in found.keys() & asked:
            output = answer_of(found[row_no]).output
            if output is not None:
                shown[row_no] = _shown(output if name is None else output.get(name))
    return {own: shown[other] for own, other in numbers.items() if other in shown}


def refuse_unlabelled(cases: Sequence[Case], file: str | None) -> None:
    """Raise UsageError when no label of the file is about an answer of the run."""
    if file is not None and not any(case.human for case in cases):
        stale = sum(case.stale for case in cases)
        more = f"; {stale} are of other answers, by their {_KEY}" if stale else ""
        raise UsageError(f"no label of {file} is about an answer of this run{more}", hint="labels are joined by id")
