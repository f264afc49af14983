"""Reading the whole input once before anything is sent, so that a mistake in the last line costs nothing."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from llmbatch.errors import InputError
from llmbatch.settings import InputSettings
from llmbatch.source.columns import ColumnType, Fields
from llmbatch.source.files import Reading
from llmbatch.source.ids import IdHashes
from llmbatch.source.stream import Source, Stamp
from llmbatch.types import Row

MAX_COLUMNS = 10_000

_PLACES = 3  #: named in a message; the rest are counted


@dataclass(frozen=True, slots=True)
class Survey:
    """What is known of the whole input."""

    total: int  #: rows, bad ones included
    bad: int  #: rows with a problem; 0 unless they are skipped
    blank_lines: int  #: of JSON Lines; they are no rows
    fingerprint: str  #: as ``Source.fingerprint()`` gave it while the input was read
    columns: dict[str, ColumnType]  #: in the order they were first seen
    stamp: Stamp


def row_id(row: Row, column: str) -> str:
    """The id of a row that has no problem, as text. Nothing is normalised."""
    return str(row.columns[column])


def check_row(row: Row, settings: InputSettings) -> str | None:
    """Why a row is not usable: its line is broken, it has no id, or lacks a required column. None when it is usable.

    An id is a string or an integer, and not empty. Null counts as missing; an empty string in a required column is
    there. Whether ids repeat is the survey's business.
    """
    if row.problem is not None:
        return row.problem
    if settings.id is not None:
        value = row.columns.get(settings.id)
        if value is None or value == "":
            return f'id column "{settings.id}" is missing, null or empty'
        if type(value) is not str and type(value) is not int:
            return f'id column "{settings.id}" is neither a string nor an integer'
    for column in settings.require:
        if row.columns.get(column) is None:
            return f'required column "{column}" is missing or null'
    return None


def refuse_changed(source: Source, surveyed: Survey) -> None:
    """Raise InputError unless the input is what it was when it was surveyed: sizes, times and every byte."""
    if source.stamp() != surveyed.stamp or source.fingerprint() != surveyed.fingerprint:
        raise InputError("it is not what it was when the run began")


def survey(source: Source, settings: InputSettings, *, taken: Collection[str] = (), skip_bad: bool = False) -> Survey:
    """Read the input to its end and check it.

    ``taken`` are the names of the columns that results will add. With ``skip_bad``, rows that :func:`check_row` finds
    fault with are counted as bad. Raises InputError naming the first places of every mistake.
    """
    stamp = source.stamp()
    sha256 = hashlib.sha256()
    reading = Reading(sha256)
    found = _Findings(Fields(MAX_COLUMNS))
    found.take(source.rows(skip_bad=skip_bad, reading=reading), settings)
    columns = found.fields.merged()
    if found.problems and not skip_bad:
        raise _unusable(found, columns)
    _refuse_repeated_ids(source, settings, found.ids.repeated(), skip_bad)
    _refuse_clashes(columns, taken)
    if source.stamp() != stamp:
        raise InputError("the input changed while it was read", hint="wait until it is written, then start again")
    return Survey(
        total=found.total,
        bad=found.bad,
        blank_lines=reading.blank_lines,
        fingerprint=sha256.hexdigest(),
        columns=columns,
        stamp=stamp,
    )


@dataclass(slots=True)
class _Findings:
    fields: Fields
    ids: IdHashes = field(default_factory=IdHashes)
    total: int = 0
    bad: int = 0
    problems: Counter[str] = field(default_factory=Counter)  #: of rows that could be read
    places: dict[str, list[str]] = field(default_factory=dict)  #: the first of each problem

    def take(self, rows: Iterable[Row], settings: InputSettings) -> None:
        for row in rows:
            self.total += 1
            self.fields.add(row.columns)
            if self.fields.full:
                raise InputError(
                    f"{row.place}: more than {MAX_COLUMNS} different columns so far",
                    hint="put data that varies by row into values, not into keys",
                )
            problem = check_row(row, settings)
            if problem is not None:
                self._note(row, problem)
            elif settings.id is not None:
                self.ids.add(row_id(row, settings.id))

    def _note(self, row: Row, problem: str) -> None:
        self.bad += 1
        if row.problem is None:
            self.problems[problem] += 1
            places = self.places.setdefault(problem, [])
            if len(places) < _PLACES:
                places.append(row.place)


def _unusable(found: _Findings, columns: Collection[str]) -> InputError:
    lines = [f"{problem}: {_listed(found.places[problem], count)}" for problem, count in found.problems.items()]
    return InputError(
        "\n".join(lines),
        hint="mend the rows or [input] in pipeline.toml, or leave such rows out with --skip-bad-rows; "
        f"the input's columns: {_listed(list(columns)[:20], len(columns))}",
    )


def _listed(some: list[str], count: int) -> str:
    more = count - len(some)
    return ", ".join(some) + (f" and {more} more" if more else "")


def _refuse_repeated_ids(source: Source, settings: InputSettings, hashes: set[int], skip_bad: bool) -> None:
    """Raise InputError if ids behind these hashes really repeat. Reads the input again, but only if there are any."""
    if not hashes:
        return
    pairs = list(islice(_repeats(source, settings, hashes, skip_bad), _PLACES))
    if pairs:
        raise InputError(
            "\n".join(f'{later}: "{settings.id}" is the same as in {first}' for first, later in pairs),
            hint=f'ids must differ as text (1 and "1" are the same); about {len(hashes)} ids come more than once',
        )


def _repeats(source: Source, settings: InputSettings, hashes: set[int], skip_bad: bool) -> Iterator[tuple[str, str]]:
    """Yield the two places of every id that comes again."""
    assert settings.id is not None
    places: dict[str, str] = {}
    for row in source.rows(skip_bad=skip_bad):
        if check_row(row, settings) is None:
            this = row_id(row, settings.id)
            if hash(this) in hashes:
                if this in places:
                    yield places[this], row.place
                else:
                    places[this] = row.place


def _refuse_clashes(columns: Collection[str], taken: Collection[str]) -> None:
    clashes = [name for name in columns if name in taken]
    if clashes:
        raise InputError(
            f"the results would have two columns named {_listed(clashes[:_PLACES], len(clashes))}",
            hint='give the output\'s columns a prefix: [output] prefix = "..." in pipeline.toml',
        )
