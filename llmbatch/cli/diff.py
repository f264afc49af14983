"""llmbatch diff: the rows whose output changed between two runs, with the fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from llmbatch.cli.flags import Json, LedgerFile, PipelineFolder
from llmbatch.cli.gate import shown
from llmbatch.cli.places import ledger_file
from llmbatch.cli.reading import reading
from llmbatch.scrub import escaped

if TYPE_CHECKING:
    from llmbatch.ledger import NamedRun, Pair, Side

_Kind = Literal["changed", "now_valid", "now_invalid", "other_failure", "added", "gone"]
_WORDS: dict[str, str] = {
    "changed": "changed",
    "now_valid": "valid now",
    "now_invalid": "not valid any more",
    "other_failure": "not valid, for another reason",
    "added": "only in the second run",
    "gone": "only in the first run",
}
_CUT = 160  #: characters of a value that are shown


@dataclass(frozen=True, slots=True)
class Difference:
    """A row whose output is not the same in both runs."""

    kind: _Kind
    pair: Pair
    fields: dict[str, tuple[Any, Any]]  #: of the output, those that differ: first and second value


def diff(
    pipeline: PipelineFolder,
    run_a: Annotated[str, typer.Argument(metavar="RUN_A", help="A run_id or its beginning.")],
    run_b: Annotated[str, typer.Argument(metavar="RUN_B", help="Another.")],
    ledger: LedgerFile = None,
    json: Json = False,
    limit: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Show at most N rows; the counts are of all.")
    ] = None,
) -> None:
    """Rows whose output changed between two runs, with the fields; prompt versions may differ."""
    from llmbatch.ledger import differing, matched_by, run_named, sizes

    with reading(ledger or ledger_file(pipeline)) as con:
        a, b = run_named(con, run_a), run_named(con, run_b)
        by, counts, told = matched_by(a, b), Counter[str](), 0
        if json:
            head = {"run_a": _named(a), "run_b": _named(b), "matched_by": by}
            typer.echo(escaped(_line(head)[:-1] + ', "rows": ['), nl=False)
        else:
            typer.echo(shown(f"{a.run_id} (prompt {a.version[:12]}) and {b.run_id} (prompt {b.version[:12]}), by {by}"))
        for difference in _differences(differing(con, a, b)):
            counts[difference.kind] += 1
            if limit is None or told < limit:
                _tell(difference, json, first=not told)
                told += 1
        _, rows_a, rows_b = sizes(con, a, b)
        _sum(counts, rows_a, rows_b, json)


def _named(run: NamedRun) -> dict[str, str]:
    return {"run_id": run.run_id, "prompt_version": run.version}


def _differences(pairs: Iterator[Pair]) -> Iterator[Difference]:
    """Of the rows that did not end in the same attempt, those whose output differs."""
    for pair in pairs:
        a, b = pair.a, pair.b
        if a is None or b is None:
            yield Difference("gone" if b is None else "added", pair, {})
            continue
        one, other = _output(a), _output(b)
        if one is not None and other is not None:
            names = dict.fromkeys((*one, *other))
            fields = {name: (one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)}
            if fields:
                yield Difference("changed", pair, fields)
        elif one is None and other is None:
            if a.failure != b.failure:
                yield Difference("other_failure", pair, {})
        else:
            yield Difference("now_invalid" if other is None else "now_valid", pair, {})


def _output(side: Side) -> dict[str, Any] | None:
    """What the results of the run hold for the row."""
    from llmbatch.reply import text_of
    from llmbatch.validate import output_of

    if side.status not in ("done", "reused") or side.raw is None:
        return None
    return output_of(text_of(side.raw))


def _tell(difference: Difference, json: bool, *, first: bool) -> None:
    pair = difference.pair
    if json:
        facts = {
            "row_id": pair.row_id,
            "row_no_a": pair.a.row_no if pair.a else None,
            "row_no_b": pair.b.row_no if pair.b else None,
            "kind": difference.kind,
            "failure_a": pair.a.failure if pair.a else None,
            "failure_b": pair.b.failure if pair.b else None,
            "fields": {name: {"a": one, "b": other} for name, (one, other) in difference.fields.items()},
        }
        typer.echo(("" if first else ",") + "\n  " + escaped(_line(facts)), nl=False)
        return
    side = pair.b or pair.a
    assert side is not None
    name = f"row {side.row_no:,}" + (f", id {pair.row_id}" if pair.row_id is not None else "")
    typer.echo(shown(f"\n{name}: {_WORDS[difference.kind]}{_failures(pair)}"))
    for field, (one, other) in difference.fields.items():
        typer.echo(shown(f"  {field}\n    - {_value(one)}\n    + {_value(other)}"))


def _failures(pair: Pair) -> str:
    failures = [side.failure for side in (pair.a, pair.b) if side is not None and side.failure]
    return f" ({' -> '.join(failures)})" if failures else ""


def _line(value: Any) -> str:
    """JSON on one line."""
    import orjson

    return orjson.dumps(value).decode()


def _value(value: Any) -> str:
    text = _line(value)
    return text if len(text) <= _CUT else text[:_CUT] + " [...]"


def _sum(counts: Counter[str], rows_a: int, rows_b: int, json: bool) -> None:
    every = {kind: counts[kind] for kind in _WORDS}
    same = rows_b - sum(counts.values()) + counts["gone"]
    if json:
        rest = _line({"counts": {"rows_a": rows_a, "rows_b": rows_b, "same": same, **every}})
        typer.echo("\n], " + rest[1:])
        return
    listing = ", ".join(f"{number:,} {_WORDS[kind]}" for kind, number in every.items() if number)
    typer.echo(f"\n{rows_a:,} and {rows_b:,} rows: {same:,} the same" + (f", {listing}" if listing else ""))
