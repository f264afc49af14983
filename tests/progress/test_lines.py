import io
import shlex
import threading
import time

from llmbatch.progress import Silent
from llmbatch.progress.lines import Lines, line_of
from llmbatch.progress.ticker import Ticker
from llmbatch.types import Status
from tests.progress.runs import Run


def test_the_last_line_can_be_grepped() -> None:
    run, stream = Run(283), io.StringIO()
    run.paid("0.0123")
    run.after(12.34, 280)
    run.after(0, 3, Status.FAILED)
    with (display := Lines(stream, run.meter, "tag")):
        pass
    display.end("finished", 0)
    assert stream.getvalue() == (
        "llmbatch: pipeline=tag status=finished done=280 reused=0 failed=3 skipped=0 pending=0 total=283 "
        "usd=0.012300 unpriced=0 seconds=12.3 exit=0\n"
    )


def test_a_line_every_thirty_seconds_by_the_steady_clock() -> None:
    run, stream = Run(10_000), io.StringIO()
    display = Lines(stream, run.meter, "tag")
    for _ in range(95):
        run.after(1, 10)
        display._tick()
    seen = stream.getvalue().splitlines()
    assert [dict(pair.split("=") for pair in line.split()[1:])["seconds"] for line in seen] == ["30.0", "60.0", "90.0"]
    assert seen[-1] == (
        "llmbatch: pipeline=tag status=running done=900 reused=0 failed=0 skipped=0 pending=9100 total=10000 "
        "usd=0.000000 unpriced=0 seconds=90.0 rows_per_s=10.0 in_flight=16 eta_s=910"
    )


def test_notes_come_once_and_at_once() -> None:
    run, stream = Run(10), io.StringIO()
    with (display := Lines(stream, run.meter, "tag", every_s=60)):
        run.tally.noted("a pause\x1b[2J\nof 60 s")
        display._tick()
        display._tick()
        run.tally.noted("[b]the end[/b]")
    display.end("budget_reached", 4)
    notes, last = stream.getvalue().splitlines()[:-1], stream.getvalue().splitlines()[-1]
    assert notes == ["llmbatch: note: a pause [2J of 60 s", "llmbatch: note: [b]the end[/b]"]
    assert "status=budget_reached" in last
    assert last.endswith("exit=4")


def test_a_line_stays_readable_by_a_shell() -> None:
    run = Run(1)
    run.paid("0", attempts=1, unpriced=1)
    line = line_of(run.meter.snapshot(), "my tags\n'x'", "running", {})
    facts = dict(pair.split("=", 1) for pair in shlex.split(line)[1:])
    assert facts["pipeline"] == "my tags 'x'"
    assert (facts["usd"], facts["unpriced"]) == ("unknown", "1")


def test_a_reader_that_is_gone_does_not_stop_the_run() -> None:
    run, stream = Run(1), io.StringIO()
    with (display := Lines(stream, run.meter, "tag", every_s=0.01)):
        stream.close()
        run.tally.noted("nobody reads this")
        run.after(1)
        time.sleep(0.05)
    display.end("finished", 0)


def test_it_ticks_by_itself_and_stops() -> None:
    run, stream = Run(10), io.StringIO()
    with Lines(stream, run.meter, "tag", every_s=0.01):
        end = time.monotonic() + 5
        while "status=running" not in stream.getvalue() and time.monotonic() < end:
            run.after(1)
            time.sleep(0.01)
    assert "status=running" in stream.getvalue()
    assert not [thread for thread in threading.enumerate() if thread.name == "llmbatch-progress"]


def test_a_ticker_waits_for_the_tick_under_way() -> None:
    started, done = threading.Event(), []

    def tick() -> None:
        started.set()
        time.sleep(0.05)
        done.append(1)

    with Ticker(0.001, tick):
        assert started.wait(5)
    ticks = len(done)
    time.sleep(0.08)
    assert ticks == len(done) >= 1


def test_silence() -> None:
    with (display := Silent()):
        pass
    display.end("finished", 0)
