"""What to do next: only what helps, and commands that can be pasted."""

import shlex
from dataclasses import replace
from decimal import Decimal

from llmbatch.grade import Profile, Quality, Signature
from llmbatch.report import Judging, RunReport, build
from llmbatch.report.advice import next_steps
from llmbatch.tally import Tally
from llmbatch.types import Outcome, Status
from tests.report.runs import a_night, answered, facts, reply

TYPED = "llmbatch run pipelines/tag --input tickets.jsonl --budget 0.5"


def ended(code: int, *, done: int = 3, failed: dict[str, int] | None = None, pending: int = 0) -> RunReport:
    tally = Tally()
    failures = failed or {}
    tally.planned(done + sum(failures.values()) + pending)
    for n in range(done):
        answered(tally, reply(cost="0.10"))
        tally.finished(Outcome(n, Status.DONE), reply())
    for name, rows in failures.items():
        for n in range(rows):
            tally.finished(Outcome(n, Status.FAILED, failure=name), None)
    return build(tally, facts(exit_code=code))


def test_a_clean_run_leaves_nothing_to_do() -> None:
    assert next_steps(ended(0)) == ()


def test_a_run_that_stopped_is_resumed_by_the_same_command() -> None:
    for code in (1, 5, 6, 74, 129, 130, 143):
        (step,) = next_steps(ended(code, pending=7))
        assert step.command == TYPED
        assert "7 rows left" in step.text
    assert "provider answers again" in next_steps(ended(6, pending=1))[0].text


def test_gold_rows_that_did_not_agree_are_paid_for_again() -> None:
    stopped = replace(ended(7, pending=7), status="below_floor")
    (step,) = next_steps(stopped)
    assert step.text.startswith(
        "When prompt or model are mended, run the same command for the 7 rows left. It asks the gold"
    )
    assert "pays for them again" in step.text
    assert "pays" not in next_steps(ended(6, pending=1))[0].text


def test_a_full_disk_needs_the_command_again_although_every_row_has_an_outcome() -> None:
    (step,) = next_steps(ended(74))
    assert step.command == TYPED
    assert step.text.startswith("When the files are whole and have room, run the same command.")


def test_the_budget_is_raised_by_what_is_missing() -> None:
    (step,) = next_steps(ended(4, done=3, pending=20))
    assert "20 rows left need about $2.00" in step.text.replace("2.0000", "2.00")
    assert step.command == "llmbatch run pipelines/tag --input tickets.jsonl --budget 2.90"  # 0.50 + 1.2 * 2.00


def test_the_budget_in_either_spelling_is_replaced() -> None:
    tally = Tally()
    tally.planned(2)
    answered(tally, reply(cost="0.10"))
    tally.finished(Outcome(0, Status.DONE), reply())
    stopped = facts(exit_code=4, command=("llmbatch", "run", "p", "--budget=1", "--quiet"), budget_usd=Decimal(1))
    assert next_steps(build(tally, stopped))[0].command == "llmbatch run p --quiet --budget 1.12"


def test_a_budget_that_let_nothing_through_names_no_sum() -> None:
    (step,) = next_steps(ended(4, done=0, pending=20))
    assert step.command is None
    assert "--budget" in step.text


def test_failed_rows_are_asked_again_by_class_most_first() -> None:
    steps = next_steps(ended(3, failed={"timeout": 1, "schema": 5, "refusal": 2, "empty": 1}))
    assert [step.command for step in steps] == [
        f"{TYPED} --retry-failed schema",
        f"{TYPED} --retry-failed refusal",
        f"{TYPED} --retry-failed timeout",
    ]


def test_failed_rows_wait_until_the_run_is_whole() -> None:
    assert len(next_steps(ended(5, failed={"schema": 5}, pending=1))) == 1


def test_unpriced_models_are_named_with_the_table_to_add() -> None:
    texts = [step.text for step in next_steps(build(a_night(), facts()))]
    assert any('[prices."strange-model"]' in words for words in texts)
    assert not any("gpt-5-mini" in words for words in texts)


def test_commands_are_quoted_for_the_shell() -> None:
    typed = ("llmbatch", "run", "my pipeline", "--input", "a'b; rm -rf $HOME.jsonl")
    tally = Tally()
    tally.planned(1)
    command = next_steps(build(tally, facts(exit_code=5, command=typed)))[0].command
    assert command is not None
    assert tuple(shlex.split(command)) == typed


def test_without_a_command_the_words_remain() -> None:
    tally = Tally()
    tally.planned(1)
    tally.finished(Outcome(0, Status.FAILED, failure="schema"), None)
    (step,) = next_steps(build(tally, facts(command=())))
    assert step.command is None
    assert "schema" in step.text


def test_a_failed_row_can_be_seen_whole() -> None:
    def first(command: tuple[str, ...], row_id: str | None) -> str | None:
        tally = Tally()
        tally.planned(1)
        outcome = Outcome(0, Status.FAILED, row_id=row_id, failure="schema")
        tally.finished(outcome, None)
        tally.failed(outcome, "in.jsonl:1", lambda: "x")
        return next_steps(build(tally, facts(command=command)))[0].command

    typed = ("llmbatch", "run", "--input", "in.jsonl", "pipelines/tag")
    assert first(typed, "T 7") == "llmbatch show pipelines/tag 'T 7'"
    assert first((*typed, "--ledger", "x.duckdb"), None) == "llmbatch show --ledger x.duckdb pipelines/tag 0"
    assert first(typed, "-7") == "llmbatch show pipelines/tag -- -7"
    assert first(("llmbatch", "run", "elsewhere"), "a") == "llmbatch run elsewhere --retry-failed schema"


def test_a_grader_that_asks_a_model_is_asked_by_hand() -> None:
    quality = Quality((), 1.0, Profile(), Signature("v", "m", "p"), None, unasked=("fine", "near"))
    whole = replace(
        ended(0), quality=quality, command=("llmbatch", "run", "p/tag", "--ledger", "l.duckdb"), pipeline="tag"
    )
    (step,) = next_steps(whole)
    assert "the model of fine, near would cost" in step.text
    assert step.command == f"llmbatch grade --ledger l.duckdb p/tag {whole.run_id}"
    assert next_steps(replace(whole, judging=(Judging("fine", 1, 1, None), Judging("near", 1, 1, None)))) == ()
