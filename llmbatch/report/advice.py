"""What to do next after a run, with the command to paste."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal
from pathlib import PurePath

from llmbatch.errors import Exit
from llmbatch.report.model import RunReport
from llmbatch.report.words import number_of, usd

_MAX_CLASSES = 3

_WHEN: Mapping[int, str] = {
    Exit.PROVIDER: "When the provider answers again",
    Exit.QUALITY: "When prompt or model are mended",
    Exit.STORAGE: "When the files are whole and have room",
}
_NOTHING_AGAIN = "What is stored is not paid for again."
#: by status
_PAID_AGAIN = {
    "below_floor": "It asks the gold rows again, and pays for them again: their stored answers say how good the model"
    " was then. What else is stored is not paid for again."
}
_CAUSES = {
    "truncated": "the answer was cut off; ask for less, or raise max_tokens (both change every request)",
    "refusal": "the model declined; read the rows, or change the prompt",
    "content_filter": "the provider's filter stopped the answer; read the rows",
    "empty": "the answer was empty",
    "not_json": "the answer was no JSON",
    "schema": "the answer did not fit the schema",
    "check": "the answer did not pass a check",
    "rejected": "the provider does not accept the row as it is; shorten or mend it",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do."""

    text: str
    command: str | None = None  #: to paste into a shell


def next_steps(report: RunReport) -> tuple[Step, ...]:
    """What a person may want to do now, most urgent first; empty after a run that leaves nothing to do."""
    return (*_resume(report), *_look(report), *_failed(report), *_unasked(report), *_unpriced(report))


def _resume(report: RunReport) -> tuple[Step, ...]:
    pending = report.rows.pending
    if report.exit_code == Exit.BUDGET:
        return (_raise_budget(report),)
    if not pending and report.exit_code != Exit.STORAGE:
        return ()
    first = _WHEN.get(report.exit_code, "To go on")
    rows = f" for the {number_of(pending, 'row')} left" if pending else ""
    text = f"{first}, run the same command{rows}. {_PAID_AGAIN.get(report.status, _NOTHING_AGAIN)}"
    return (Step(text, _paste(report.command)),)


def _raise_budget(report: RunReport) -> Step:
    rows, spent = report.rows, report.cost.total_usd
    answered = rows.done + rows.failed
    if not spent or not answered:
        return Step(f"Raise the budget (--budget) for the {number_of(rows.pending, 'row')} left.")
    more = spent / answered * rows.pending
    budget = (max(spent, report.limits.budget_usd or spent) + more * Decimal("1.2")).quantize(Decimal("0.01"), ROUND_UP)
    return Step(
        f"Raise the budget: the {number_of(rows.pending, 'row')} left need about {usd(more)} more.",
        _paste(_with(report.command, "--budget", str(budget))),
    )


def _look(report: RunReport) -> tuple[Step, ...]:
    """See one of the failed rows whole, before anything is paid again."""
    row, pipeline = next((row for row in report.examples if row.status == "failed"), None), _pipeline(report)
    if row is None or pipeline is None:
        return ()
    name = row.id if row.id is not None else str(row.row_no)
    dashes = ("--",) if name.startswith("-") else ()
    command = ("llmbatch", "show", *_option(report.command, "--ledger"), pipeline, *dashes, name)
    return (Step(f"See what row {row.row_no:,} was asked and what came back.", _paste(command)),)


def _failed(report: RunReport) -> tuple[Step, ...]:
    if report.rows.pending:
        return ()
    return tuple(
        Step(
            f"Ask again for the {number_of(rows, 'row')} that failed with {name}"
            + (f": {_CAUSES[name]}." if name in _CAUSES else "."),
            _paste(_with(report.command, "--retry-failed", name)),
        )
        for name, rows in list(report.failures.items())[:_MAX_CLASSES]
    )


def _unasked(report: RunReport) -> tuple[Step, ...]:
    """Have the answers judged, which costs money and is never done unasked."""
    if not report.unasked or report.rows.pending:
        return ()
    pipeline = _pipeline(report) or report.pipeline
    command = ("llmbatch", "grade", *_option(report.command, "--ledger"), pipeline, report.run_id)
    text = f"See what asking the model of {', '.join(report.unasked)} would cost; to ask it, add --ask."
    return (Step(text, _paste(command)),)


def _unpriced(report: RunReport) -> tuple[Step, ...]:
    # where only some are unpriced, their usage is missing, and no price would help
    names = [m.model for m in report.cost.by_model if m.unpriced_attempts and m.unpriced_attempts == m.attempts]
    return tuple(
        Step(
            f'To price {name}, add [prices."{name}"] to pipeline.toml, with its input and output price in dollars per '
            "million tokens."
        )
        for name in names[:_MAX_CLASSES]
    )


def _pipeline(report: RunReport) -> str | None:
    """The folder as it was typed."""
    return next((w for w in report.command[2:] if PurePath(w).name == report.pipeline), None)


def _option(command: Sequence[str], flag: str) -> tuple[str, ...]:
    """An option as it was typed; empty when it was not."""
    for at, word in enumerate(command):
        if word == flag:
            return tuple(command[at : at + 2])
        if word.startswith(f"{flag}="):
            return (word,)
    return ()


def _with(command: Sequence[str], flag: str, value: str) -> tuple[str, ...]:
    """The command with an option set anew."""
    if not command:
        return ()
    kept, skip = [], False
    for word in command:
        if not skip and word != flag and not word.startswith(f"{flag}="):
            kept.append(word)
        skip = word == flag
    return (*kept, flag, value)


def _paste(command: Sequence[str]) -> str | None:
    return shlex.join(command) if command else None
