import io
import sys
import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from llmbatch.limits import LimitState
from llmbatch.progress import Gauges, Meter, Silent, choose, words
from llmbatch.progress.frame import render
from llmbatch.progress.lines import Lines
from llmbatch.progress.live import Live
from llmbatch.tally import Tally
from llmbatch.types import Status
from tests.progress.runs import Run


@pytest.fixture
def run() -> Run:
    run = Run(10_000)
    run.paid("0.1234")
    run.after(10, 4_000)
    run.after(0, 100, Status.REUSED)
    run.after(0, 20, Status.FAILED)
    return run


def test_a_wide_terminal_has_it_all_in_few_lines(run: Run) -> None:
    run.tally.noted("structured output is not supported: asking in words")
    assert render(run.meter.snapshot(), "tag", 130).plain.splitlines() == [
        "tag " + "━" * 49 + "─" * 71 + "  41 %",
        "4,120 of 10,000 rows · 412 rows/s · 15 s left · 16 in flight · 100 reused · 20 failed · 1.2M + 80k tokens",
        "$0.1234, about $0.30 in all",
        "! structured output is not supported: asking in words",
    ]


def test_a_narrow_one_has_it_all_in_more_lines(run: Run) -> None:
    assert render(run.meter.snapshot(), "a-pipeline-with-a-long-name", 40).plain.splitlines() == [
        "a-pipeline-w… " + "━" * 8 + "─" * 12 + "  41 %",
        "4,120 of 10,000 rows · 412 rows/s",
        "15 s left · 16 in flight · 100 reused",
        "20 failed · 1.2M + 80k tokens",
        "$0.1234, about $0.30 in all",
    ]


@given(width=st.integers(1, 200), name=st.text(), note=st.text(), total=st.integers(0, 10**9), share=st.floats(0, 1))
def test_no_line_is_ever_wider_than_the_terminal(width: int, name: str, note: str, total: int, share: float) -> None:
    run = Run(total)
    run.tally.noted(note)
    run.after(9, int(total * share))
    picture = render(run.meter.snapshot(), name, width).plain
    assert all(cell_len(line) <= width for line in picture.split("\n"))
    assert all(line.isprintable() for line in picture.split("\n"))


def test_nothing_foreign_is_taken_for_markup_or_control(run: Run) -> None:
    run.tally.noted("[red]x[/nope] \x1b[2J\x07 [link=http://e.com]\r\n:smile:")
    text = shown(run, "[b]tag\x1b]0;", 120)
    assert "! [red]x[/nope] [2J [link=http://e.com] :smile:" in text
    assert "[b]tag" in text
    assert "\x1b[2J" not in text
    assert "\x1b]0;" not in text


def shown(run: Run, pipeline: str, width: int) -> str:
    stream = Terminal()
    live = Live(stream, run.meter.snapshot, pipeline)
    live._columns = lambda: width  # type: ignore[method-assign]
    with live:
        pass
    return stream.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_newest_notes_are_shown(run: Run) -> None:
    for number in range(6):
        run.tally.noted(f"note {number}")
    picture = render(run.meter.snapshot(), "tag", 100).plain
    assert [line for line in picture.splitlines() if line[0] == "!"] == ["! note 3", "! note 4", "! note 5"]


def test_unknown_is_not_nought() -> None:
    run = Run(10)
    run.paid("0", attempts=2, unpriced=2)
    picture = render(run.meter.snapshot(), "tag", 200).plain
    assert "-- rows/s" in picture
    assert "$? (2 unpriced)" in picture
    assert "-- left" in picture


def test_standard_output_is_left_alone_and_the_last_picture_stays(run: Run) -> None:
    before = sys.stdout
    stream = Terminal()
    with Live(stream, run.meter.snapshot, "tag"):
        assert sys.stdout is before
        run.after(5, 5_880)
    assert "10,000 of 10,000 rows" in stream.getvalue().replace("\n", " ")


def test_it_is_calm(run: Run) -> None:
    stream = Terminal()
    with Live(stream, run.meter.snapshot, "tag"):
        time.sleep(1.1)
    assert stream.getvalue().count("tag ") <= 7  # four a second, the first and the last


def limited(run: Run, **state: Any) -> str:
    limits = LimitState(**{"concurrency": 32, "paused_s": 0.0, "breaker": "closed", **state})
    gauges = Gauges(lambda: 16, lambda: limits, Decimal("5"), Decimal("1"))
    meter = Meter(run.tally, gauges, lambda: run.now)
    run.after(10, 400)
    return render(meter.snapshot(), "tag", 200).plain.splitlines()[1]


def test_it_says_what_the_limits_do(run: Run) -> None:
    assert "40 rows/s · 2 min left · 16 of 32 in flight" in limited(run)
    assert "40 rows/s · paused 12 s · 2 min left · 16 of 32" in limited(run, paused_s=12.4).replace(
        "paused 10", "paused 12"
    )
    down = limited(run, breaker="open", paused_s=4.0)
    assert "provider down, probe in 4 s · 16 of 32" in down
    assert "left" not in down
    assert "provider down, probing" in limited(run, breaker="probing", paused_s=4.0)
    assert "$1.1234 of $5.00, about $1.30 in all" in limited(run)


def test_a_terminal_that_got_narrower_is_drawn_over_from_the_pictures_start(run: Run, monkeypatch: Any) -> None:
    monkeypatch.delenv("XTERM_VERSION", raising=False)
    stream, columns = Terminal(), [100]
    live = Live(stream, run.meter.snapshot, "tag")
    live._columns = lambda: columns[0]  # type: ignore[method-assign]
    live.draw()
    wide = render(run.meter.snapshot(), "tag", 100).plain.splitlines()
    columns[0] = 40
    stream.truncate(0)
    live.draw()
    rows = sum(-(-cell_len(line) // 40) for line in wide)
    assert stream.getvalue().lstrip("\x00").startswith(f"\r\x1b[{rows - 1}A")
    monkeypatch.setenv("XTERM_VERSION", "XTerm(390)")
    cutting = Live(stream, run.meter.snapshot, "tag")
    cutting._columns = lambda: columns[0]  # type: ignore[method-assign]
    columns[0] = 100
    cutting.draw()
    columns[0] = 40
    stream.truncate(0)
    cutting.draw()
    assert stream.getvalue().lstrip("\x00").startswith("\n")


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        ("0.314", "$0.32"),
        ("1.11", "$1.20"),
        ("12.4", "$13"),
        ("1234", "$1,300"),
        ("0.0051", "$0.0051"),
        ("0", "$0.0001"),
    ],
)
def test_a_forecast_of_dollars_has_two_figures(usd: str, text: str) -> None:
    assert words.round_dollars(Decimal(usd)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (9.4, "9 s"), (52, "50 s"), (94, "95 s"), (100, "2 min"), (3590, "1 h 00 min"), (4900, "1 h 20 min"),
     (86400 * 3.2, "3 days")],
)  # fmt: skip
def test_time_left_is_rough(seconds: float, text: str) -> None:
    assert words.left(seconds) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (999, "999"), (1234, "1.2k"), (45_600, "46k"), (10**7, "10M")])
def test_large_numbers_are_short(number: int, text: str) -> None:
    assert words.short(number) == text


def test_who_gets_which_display(monkeypatch: pytest.MonkeyPatch) -> None:
    def kind(stream: io.StringIO, quiet: bool = False) -> type:
        return type(choose(stream, Tally(), Gauges(lambda: 0), "tag", quiet=quiet))

    monkeypatch.setenv("TERM", "xterm-256color")
    assert kind(Terminal()) is Live
    assert kind(io.StringIO()) is Lines
    assert kind(Terminal(), quiet=True) is Silent
    monkeypatch.setenv("TERM", "dumb")
    assert kind(Terminal()) is Lines
