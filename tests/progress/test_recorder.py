from llmbatch.limits import LimitState
from llmbatch.progress import Gauges, Recorder
from llmbatch.types import Status
from tests.progress.runs import Run


def test_looks_fill_the_timeline_with_what_the_limits_did() -> None:
    run, limits = Run(100), LimitState(8, 0.0, "closed")
    recorder = Recorder(run.tally, Gauges(lambda: 5, lambda: limits), lambda: run.now)
    run.after(0.2, 10)
    recorder.look()
    limits = LimitState(6, 2.0, "closed")
    run.after(0.25, 5, Status.REUSED)
    run.paid("0.5", attempts=4)
    recorder.look()
    limits = LimitState(6, 2.0, "open")
    run.after(0.25)
    recorder.look()
    points = [run.tally.timeline.spans[number] for number in sorted(run.tally.timeline.spans)]
    assert [(point.rows, point.answers, point.concurrency) for point in points] == [(10, 0, 8), (5, 4, 6), (0, 0, 6)]
    assert [(point.paused_s > 0, point.down_s > 0) for point in points] == [
        (False, False), (True, False), (False, True),
    ]  # fmt: skip
    assert sum(point.dollars for point in points) == 0.5


def test_it_looks_by_itself_while_entered() -> None:
    run = Run(10)
    with Recorder(run.tally, Gauges(lambda: 3)):
        run.after(0, 10)
    assert sum(point.rows for point in run.tally.timeline.spans.values()) == 10
