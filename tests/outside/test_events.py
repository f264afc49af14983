import io
import re
from typing import Any

import orjson
import pytest

from llmbatch.errors import BudgetReached, LlmbatchError
from llmbatch.limits.changes import Change
from llmbatch.outside.events import EVENTS, Events
from llmbatch.outside.log import EventLog
from llmbatch.simulator import Scenario
from tests.cli.conftest import Serve, Shell, serve, shell, tickets
from tests.outside.conftest import begun
from tests.pages import ROOT, table
from tests.progress.runs import Run

__all__ = ["serve", "shell"]
COMMON = ("time", "level", "event", "run_id", "pipeline")
KEY = "sk-proj-abcdefghij0123456789"


def events(text: str) -> list[dict[str, Any]]:
    """The events of a log; every line is one, and has the fields that its name promises."""
    found = [orjson.loads(line) for line in text.splitlines()]
    for event in found:
        assert tuple(event) == (*COMMON, *EVENTS[event["event"]])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["time"])
        assert event["level"] in ("info", "warning", "error")
    return found


def names(found: list[dict[str, Any]]) -> list[str]:
    return [event["event"] for event in found]


def test_the_page_names_every_event_and_field() -> None:
    rows = table(ROOT / "docs/observability.md", "Events")
    assert {name.strip("`"): tuple(re.findall(r"`(\w+)`", fields)) for name, _, fields in rows} == EVENTS


def test_a_run_by_the_clock() -> None:
    run, stream = Run(100), io.StringIO()
    changes = [Change(0.5, "concurrency", 16, "no queue seen"), Change(0.5, "pause", 60.0, "429")]
    reason: list[LlmbatchError] = []
    with (
        display := Events(EventLog(stream), begun(), run.meter, lambda: changes, lambda: reason[0] if reason else None)
    ):
        for second in range(65):
            if second == 40:
                run.tally.noted("a pause of 60 s")
                changes = [*changes[1:], Change(41.0, "concurrency", 8, "overloaded")]  # the oldest is kept no more
            run.after(1, 1)
            display.tick()
        reason.append(BudgetReached("budget of $1.00 reached"))
    found = events(stream.getvalue())
    assert names(found) == [
        "run_started", "limit_changed", "limit_changed", "progress", "limit_changed", "note", "progress",
        "run_stopping",
    ]  # fmt: skip
    assert {event["run_id"] for event in found} == {"20261123T230527-a0a52c"}
    assert [event["seconds"] for event in found if event["event"] == "progress"] == [30.0, 60.0]
    assert found[3]["rows"] == {"total": 100, "done": 30, "reused": 0, "failed": 0, "skipped": 0, "pending": 70}
    assert (found[-1]["level"], found[-1]["exit_code"]) == ("warning", 4)


def test_a_line_is_safe_whatever_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "correct-horse-battery")
    stream = io.StringIO()
    EventLog(stream).write("note", message=f"{KEY} correct-horse-battery\n\x1b[2J\u202e\udcff \x9b", more=[KEY])
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert line.rstrip("\n").isprintable()
    assert KEY not in line
    assert "correct-horse" not in line
    assert orjson.loads(line)["message"].startswith("[key] [key]\n\x1b[2J\u202e")


def test_quiet_leaves_what_needs_a_person() -> None:
    stream = io.StringIO()
    log = EventLog(stream, quiet=True)
    log.write("progress")
    log.write("note", "warning", message="x")
    assert stream.getvalue().count("\n") == 1


def test_a_log_whose_reader_is_gone_ends_nothing() -> None:
    stream = io.StringIO()
    stream.close()
    EventLog(stream).write("note", message="x")


def run(shell: Shell, *args: object, expect: int = 0) -> list[dict[str, Any]]:
    done = shell.call("run", "label", "-i", "in.jsonl", "--log-format", "json", *args, expect=expect)
    assert done.stdout == ""
    return events(done.stderr)


def test_a_whole_run(shell: Shell, serve: Serve) -> None:
    shell.write("in.jsonl", tickets(20))
    found = run(shell, "--base-url", serve(Scenario()).base_url, "--on-finish", "echo done; echo row")
    calm = [name for name in names(found) if name != "limit_changed"]
    assert calm == ["run_started", "results_written", "run_finished", "on_finish_output", "on_finish_output"]
    last = next(event for event in found if event["event"] == "run_finished")
    report = orjson.loads((shell.folder / "results/label/report.json").read_bytes())
    for field in ("run_id", "status", "exit_code", "rows", "failures", "attempts", "tokens"):
        assert last[field] == report[field]
    assert last["cost_usd"] is None
    assert "invoice" not in str(found)


def test_a_run_told_to_stop(shell: Shell) -> None:
    shell.write("in.jsonl", tickets(5))
    shell.env["OPENAI_API_KEY"] = KEY
    prices = ("--set", "prices.m-1.input=1", "--set", "prices.m-1.output=1", "--budget", "0.000001")
    found = run(shell, "--base-url", "http://127.0.0.1:9/v1", *prices, expect=4)
    kinds = names(found)
    assert kinds[-3:] == ["run_stopping", "results_written", "run_finished"]
    assert (found[-1]["level"], found[-1]["exit_code"]) == ("warning", 4)
    assert "the same command" in found[-1]["hint"]
    assert KEY not in str(found)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--concurency", "4"], "--concurency"),
        (["-i", "absent.jsonl"], "absent.jsonl"),
    ],
)
def test_a_mistake_is_one_event(shell: Shell, args: list[str], words: str) -> None:
    shell.write("in.jsonl", tickets(1))
    (event,) = run(shell, *args, "--quiet", expect=2)
    assert (event["event"], event["level"], event["exit_code"], event["run_id"]) == ("error", "error", 2, None)
    assert words in f"{event['message']} {event['hint']}"
