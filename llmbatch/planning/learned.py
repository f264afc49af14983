"""What earlier runs, or rules of thumb, say of one row: its calls, its tokens, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from llmbatch.ledger.past import Past, Sample, Use
from llmbatch.planning.model import Amount
from llmbatch.planning.shape import answer_tokens
from llmbatch.planning.sizes import frame_tokens, rule
from llmbatch.types import Json

_ENOUGH = 5  #: answers before history is believed
_SURE = 0.10  #: the narrowest half of a range
_CALLS = Amount(1.0, 1.03, 1.10)  #: a row, without history
_SCHEMA_SHARE = Amount(0.0, 0.5, 1.0)  #: of the schema's tokens that a server bills: some all, some none
_RULE = Amount(0.75, 1.0, 1.35)  #: how far vocabularies are from the rule
_OUTPUT = Amount(0.5, 1.0, 3.0)  #: how far answers are from what their schema suggests


@dataclass(frozen=True, slots=True)
class Learned:
    """Of one row that is asked. Tokens are those of all its calls."""

    calls: Amount
    frame: Amount  #: input tokens that do not depend on the row
    per_rule: Amount  #: input tokens for each token of the user message that the rule counts
    output: Amount
    cached_share: float  #: of the input
    cache_write_share: float
    reasoning_share: float  #: of the output
    basis: str


def learn(
    past: Past, *, system: str | None, schema: Mapping[str, Json], most_output: int | None, error: float = 0.0
) -> Learned:
    """Of requests with this system message and schema.

    ``most_output`` bounds an answer's tokens. ``error`` is how far earlier plans were off: the ranges hold it.
    """
    use = next((u for u in past.uses if u.first_answers >= _ENOUGH and u.nearness <= 1), None)
    calls = _CALLS if use is None else _around(use.answers / use.asked, _sureness(use, 0.0, error))
    again = calls.likely if use is None else _input_of_all_calls(use)
    frame, per_rule = _input(past.samples, system, schema, error)
    return Learned(
        calls=calls,
        frame=frame * again,
        per_rule=per_rule * again,
        output=_output(use, error) if use else _guess(schema, most_output),
        cached_share=use.cached / use.input if use else 0.0,
        cache_write_share=use.cache_write / use.input if use else 0.0,
        reasoning_share=use.reasoning / use.output if use and use.output else 0.0,
        basis=_basis(past, use),
    )


def _input_of_all_calls(use: Use) -> float:
    """Input tokens of all calls of a row, as a multiple of those of an answered first ask."""
    return use.input / (use.first_input / use.first_answers * use.asked)


def _input(
    samples: Sequence[Sample], system: str | None, schema: Mapping[str, Json], error: float
) -> tuple[Amount, Amount]:
    """Tokens of what all rows share, and of each token that the rule counts in a user message."""
    here, shape = frame_tokens(system), rule(orjson.dumps(schema).decode())
    if len(samples) < _ENOUGH:
        frames = [(here + shape * share) * off for share, off in _pairs(_SCHEMA_SHARE, _RULE)]
        return Amount(*frames), _RULE
    counted = [(_of_sample(sample), sample.input_tokens) for sample in samples]
    factor = sum(tokens for _, tokens in counted) / sum(rules for rules, _ in counted)
    off = [tokens / (rules * factor) - 1 for rules, tokens in counted]
    deviation = math.sqrt(sum(o * o for o in off) / len(off))
    half = max(_SURE, 2 * deviation / math.sqrt(len(off)), error)
    return _around((here + shape) * factor, half), _around(factor, half)


def _of_sample(sample: Sample) -> float:
    return frame_tokens(sample.system) + rule(sample.schema) + rule(sample.user_message)


def _output(use: Use, error: float) -> Amount:
    mean = use.output / use.asked
    deviation = use.output_deviation / (use.output / use.answers) if use.output else 0.0
    return _around(mean, _sureness(use, deviation, error))


def _guess(schema: Mapping[str, Json], most_output: int | None) -> Amount:
    usual = answer_tokens(schema) * _CALLS.likely
    found = _OUTPUT * usual
    if most_output is None:
        return found
    return Amount(min(found.low, most_output), min(usual, most_output), max(usual, most_output))


def _sureness(use: Use, deviation: float, error: float) -> float:
    return max(_SURE, 2 * deviation / math.sqrt(use.answers), error)


def _around(value: float, half: float) -> Amount:
    return Amount(value * max(0.0, 1 - half), value, value * (1 + half))


def _pairs(a: Amount, b: Amount) -> tuple[tuple[float, float], ...]:
    return (a.low, b.low), (a.likely, b.likely), (a.high, b.high)


def _basis(past: Past, use: Use | None) -> str:
    if use is None:
        counted = f"input by {len(past.samples)} requests to this model, " if len(past.samples) >= _ENOUGH else ""
        return f"{counted}{'the rest by ' if counted else ''}rule of thumb"
    if use.probes == use.runs:
        words = f"a probe of {use.asked:,} rows"
    else:
        words = f"history of {use.runs:,} {'run' if use.runs == 1 else 'runs'}, {use.answers:,} answers"
    return words if use.nearness == 0 else f"{words} under another prompt"
