"""The text report: what it says first, that it adds up, and that no foreign text can do anything."""

import re
import unicodedata
from dataclasses import replace

import pytest

from llmbatch.report import build, text
from llmbatch.tally import Tally
from llmbatch.types import Outcome, Status
from tests.report.runs import INVALID, a_night, answered, facts, reply
from tests.report.scenes import SCENES, bad


def finished(rows: int, failed: int = 0) -> Tally:
    tally = Tally()
    tally.planned(rows)
    for n in range(rows - failed):
        answered(tally, reply())
        tally.finished(Outcome(n, Status.DONE), reply())
    for n in range(failed):
        tally.finished(Outcome(n, Status.FAILED, failure="schema"), None)
    return tally


def test_a_run_that_left_batches_at_the_provider_is_not_finished() -> None:
    tally = Tally()
    tally.planned(3)
    assert text(build(tally, facts(status="waiting"))).splitlines()[0] == (
        "Waiting for batches at the provider: 0 of 3 rows valid, 3 pending."
    )


@pytest.mark.parametrize(
    ("tally", "code", "first"),
    [
        (finished(300), 0, "Finished: 300 of 300 rows valid."),
        (finished(1), 0, "Finished: 1 of 1 row valid."),
        (finished(300, failed=2), 0, "Finished: 298 of 300 rows valid, 2 failed."),
        (finished(300, failed=60), 3, "Finished, but too many rows failed: 240 of 300 rows valid, 60 failed."),
        (a_night(), 4, "Stopped at the budget: 7 of 12 rows valid, 2 failed, 1 skipped, 2 pending."),
        (a_night(), 130, "Interrupted: 7 of 12 rows valid, 2 failed, 1 skipped, 2 pending."),
        (a_night(), 99, "Ended with exit status 99: 7 of 12 rows valid, 2 failed, 1 skipped, 2 pending."),
        (Tally(), 0, "Finished: the input has no rows."),
    ],
)
def test_the_first_line_says_how_it_ended(tally: Tally, code: int, first: str) -> None:
    assert text(build(tally, facts(exit_code=code))).splitlines()[0] == first


def test_says_what_a_person_asks() -> None:
    shown = text(build(a_night(), facts()))
    for line in (
        "12 = 5 done + 2 reused + 2 failed + 1 skipped + 2 pending",
        "2 reused, 7 new, 3 changed, 1 gone",
        "1 schema, 1 timeout",
        "9 sent: 5 ok, 2 invalid, 1 rate limited, 1 timeout",
        "7,000 input (1,400 cached), 700 output (210 reasoning)",
        "$0.0030 of a budget of $0.50 (prices: genai-prices 0.2.3 (openai))",
        "strange-model: unknown, 1 answer",
        "Spent on 2 invalid answers: $0.0005",
        "Saved by 2 reused rows: $0.0010",
        "1 of 7 answers has no known price and no place in the total",
        "1 attempt brought nothing and may be on the provider's bill, for $0.0020 at most",
        "8,000 input, 800 output, $0.0025 ($0.0020 to $0.0040), the bill is 20% above it",
        "p50 500 ms",
        "results/tag/results.jsonl",
        "20261123-210000-aaaa, $0.25",
        "ran beside a backup",
    ):
        assert line in shown


def test_an_unknown_bill_is_called_unknown() -> None:
    tally = Tally()
    answered(tally, reply("my-llama", cost=None), INVALID)
    shown = text(build(tally, facts(budget_usd=None, price_source="none", planned=None)))
    assert "unknown (prices: none)" in shown
    assert "$0" not in shown.replace("$0.25", "")


def test_counts_that_do_not_add_up_are_shouted() -> None:
    tally = finished(2)
    tally.planned(1)
    assert "THE COUNTS DO NOT ADD UP" in text(build(tally, facts()))
    assert "DO NOT" not in text(build(finished(2), facts()))


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_lines_fit_except_those_to_copy(width: int) -> None:
    command = ("llmbatch", "run", "pipelines/tag", "--input", "a" * 200)
    report = build(a_night(), facts(command=command, files={"results": "b" * 200}, run_id="r" * 150, exit_code=5))
    lines = text(report, width=width).splitlines()
    long = [line for line in lines if len(line) > width]
    assert [line.strip() for line in long if "a" * 200 in line] == [" ".join(command)]
    assert [line for line in long if "b" * 200 in line]
    assert len(long) == 2


def test_plain_text_is_ascii_without_escapes() -> None:
    shown = text(build(a_night(), facts()))
    assert shown.isascii()
    assert "\x1b" not in shown


def test_color_only_adds_escapes() -> None:
    report = build(a_night(), facts())
    colored = text(report, color=True)
    assert colored.startswith("\x1b[")
    stripped = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", colored).splitlines()]
    assert stripped == text(report).splitlines()


def test_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    report = build(a_night(), facts())
    before = text(report), text(report, color=True)
    for name, value in (("FORCE_COLOR", "1"), ("NO_COLOR", "1"), ("COLUMNS", "20"), ("TERM", "dumb")):
        monkeypatch.setenv(name, value)
    assert (text(report), text(report, color=True)) == before


NASTY = "a[bold red]b[/]\x1b[2J\x1b]0;owned\x07\x9b31m\r\n\u202eevil\u2028:smile:\x00"


def test_foreign_text_is_shown_and_does_nothing() -> None:
    tally = Tally()
    tally.planned(2)
    answered(tally, reply(NASTY, cost=None))
    tally.finished(Outcome(0, Status.FAILED, failure=NASTY), None)
    tally.noted(NASTY)
    nasty = facts(
        run_id=NASTY,
        pipeline=NASTY,
        label=NASTY,
        model=NASTY,
        prompt_version=NASTY,
        price_source=NASTY,
        files={NASTY: NASTY},
        command=("llmbatch", NASTY),
        exit_code=5,
    )
    for color in (False, True):
        shown = text(build(tally, nasty), color=color, width=4_000)
        bare = re.sub(r"\x1b\[[0-9;]*m", "", shown) if color else shown
        unsafe = {char for char in bare if unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp"}} - {"\n"}
        assert not unsafe
        assert r"a[bold red]b[/]\x1b[2J" in bare
        assert ":smile:" in bare
        assert not re.search(r"\x1b\[(?!(0|1|1;3[123])m)", shown)


def test_other_scripts_and_emoji_stay_as_they_are() -> None:
    assert "données-数据-👩‍🔬.jsonl" in text(build(Tally(), facts(files={"results": "données-数据-👩‍🔬.jsonl"})))


def test_failures_have_an_example_and_the_trend_stands_with_the_cost() -> None:
    shown = text(bad(), width=200)
    assert "schema: row 900 (T-0), tickets.jsonl:901: tags: [] has less than 1 item" in shown
    assert shown.count("tickets.jsonl:") == 2
    assert "$0.6042 per 1,000 rows done, 5% above the median of the last 12 runs ($0.5750)" in shown
    assert "Saved by the provider's cache: $0.0412" in shown


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("width", [60, 80, 200])
def test_every_scene_fits_every_width(name: str, width: int) -> None:
    shown = text(SCENES[name](), width=width)
    assert shown.isascii()
    copied = ("llmbatch", "Files", "            failed")
    long = [line for line in shown.splitlines() if len(line) > width and not line.strip().startswith(copied)]
    assert name == "hostile" or long == []


def test_calls_beside_a_slow_one_are_told() -> None:
    assert "; 3 beside a slow one" in text(build(a_night(), facts(hedged=3)))
    assert "beside a slow one" not in text(build(a_night(), facts()))


def test_the_cost_of_each_tier_is_told_once() -> None:
    tally = a_night()
    answered(tally, replace(reply(), tier="flex"))
    shown = text(build(tally, facts()))
    assert shown.count("flex") == shown.count("by tier: ") == 1
