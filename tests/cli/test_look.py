"""status, runs, report, show, check, init, --help: what is printed, and what it costs to print it."""

import signal
import subprocess
import sys
import time
from datetime import UTC, datetime

import orjson
import pytest

from llmbatch.cli.history import table
from llmbatch.simulator import Fault, Latency, Scenario, Server
from tests.cli.conftest import Serve, Shell, tickets


def scenario(*faults: Fault, latency_ms: float = 0) -> Scenario:
    return Scenario(fault=faults, server=Server(brain="echo"), latency=Latency(median_ms=latency_ms))


def test_status_works_while_a_run_holds_the_ledger(shell: Shell, serve: Serve) -> None:
    server = serve(scenario(latency_ms=300))
    shell.write("in.jsonl", tickets(4_000))
    run = shell.start("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--concurrency", 8, "--quiet")
    while server.account.total.requests < 24:
        assert run.poll() is None
        time.sleep(0.05)
    time.sleep(1.1)
    facts = orjson.loads(shell.call("status", "label", "--json").stdout)
    assert facts["state"] == "running"
    assert facts["alive"] is True
    assert facts["pid"] == run.pid
    assert facts["rows"]["done"] >= 8
    assert sum(facts["rows"][name] for name in facts["rows"] if name != "total") == facts["rows"]["total"] == 4_000
    age = datetime.now(UTC) - datetime.fromisoformat(facts["updated_at"])
    assert age.total_seconds() < 2.5
    busy = shell.call("runs", "label", expect=75)
    assert "llmbatch status" in busy.stderr
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=60)
    assert "interrupted, " in shell.call("status").stdout


def test_status_tells_a_dead_run_from_a_live_one(shell: Shell, serve: Serve) -> None:
    server = serve(scenario(latency_ms=500))
    shell.write("in.jsonl", tickets(80))
    run = shell.start("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--concurrency", 4, "--quiet")
    while server.account.total.requests < 4:
        assert run.poll() is None
        time.sleep(0.05)
    run.kill()
    run.communicate()
    assert "label: died, " in shell.call("status", "label").stdout


def test_nothing_to_show_is_a_mistake(shell: Shell) -> None:
    for command in (["status"], ["status", "label"], ["runs", "label"], ["report", "label"], ["show", "label", "0"]):
        assert shell.call(*command, expect=2).stderr.startswith("llmbatch: ")
    assert not (shell.folder / ".llmbatch").exists()


@pytest.mark.slow
def test_runs_and_report_and_show_tell_the_story(shell: Shell, serve: Serve) -> None:
    faults = Fault(kind="wrong_shape", match="number 3:"), Fault(kind="server_error", match="number 4:", times=1)
    server = serve(scenario(*faults))
    shell.write("in.jsonl", tickets(6))
    shell.run("-i", "in.jsonl", url=server.base_url, expect=3)
    shell.run("-i", "in.jsonl", url=server.base_url, expect=3)
    lines = shell.call("runs", "label").stdout.splitlines()
    assert len(lines) == 3
    names, *runs = [line.split() for line in lines]
    assert [dict(zip(names, cells, strict=False))["done"] for cells in runs] == ["0", "5"]
    assert [dict(zip(names, cells, strict=False))["reused"] for cells in runs] == ["5", "0"]
    assert "too_many_failed" in lines[1]
    nights = orjson.loads(shell.call("runs", "label", "--json").stdout)
    newest = orjson.loads(shell.call("report", "label", "--json").stdout)
    assert newest["run_id"] == nights[0]["run_id"]
    first = orjson.loads(shell.call("report", "label", nights[1]["run_id"], "--json").stdout)
    assert first["rows"]["done"] == 5
    assert "5 done" in shell.call("report", "label", nights[1]["run_id"][:16]).stdout
    shell.call("report", "label", "--html", "page.html")
    assert "<html" in (shell.folder / "page.html").read_text()

    failed = shell.call("show", "label", "r3").stdout
    assert "failed in run " in failed
    assert "Summarise: Ticket number 3: " in failed
    assert failed.count("attempt ") == 4
    retried = orjson.loads(shell.call("show", "label", "4", "--json").stdout)
    assert retried["row_id"] == "r4"
    assert retried["status"] == "reused"
    assert [a["outcome"] for a in retried["attempts"]] == ["transient", "answered"]
    assert shell.call("show", "label", "r99", expect=2).stderr.startswith("llmbatch: no run of label has a row 'r99'")


def test_runs_fit_the_terminal_and_lose_the_least_needed_columns_first() -> None:
    night = {"run_id": "20261125T200818-72f800", "status": "finished", "total": 1_000, "ended_at": None,
             "rows": {"done": 9, "reused": 1, "failed": 0, "skipped": 0, "pending": 0}, "cost_usd": 0.5,
             "report": {"cost": {"per_1000_done_usd": 55.5}, "attempts": {"ok": 9, "invalid": 1},
                        "latency_ms": {"p50": 45.0}, "quality": {"graders": [{"mean": 0.932}]}},
             "prompt_version": "a" * 12}  # fmt: skip
    died = night | {"status": None, "report": None, "cost_usd": None}
    wide = table([night, died], 200, color=False).splitlines()
    assert wide[0].split()[-4:] == ["score", "invalid", "p50", "prompt"]
    assert wide[1].split()[-4:-1] == ["10.0%", "45", "ms"]
    assert "$55.50" in wide[1]
    assert " died " in wide[2]
    for width in (60, 80, 100, 120):
        shown = table([night, died], width, color=False).splitlines()
        assert max(map(len, shown)) <= width
        assert shown[0].split()[:2] == ["run", "status"]
        assert "\x1b" not in "".join(shown)
    assert "\x1b[32mfinished" in table([night], 200, color=True)


def test_with_text_the_report_has_the_rows_words_and_the_stored_one_has_not(shell: Shell, serve: Serve) -> None:
    server = serve(scenario(Fault(kind="wrong_shape", match="number 1:")))
    shell.write("in.jsonl", tickets(2))
    stored = shell.run("-i", "in.jsonl", url=server.base_url, expect=3)
    assert [(row["row_no"], row["id"], row["failure"], row["text"]) for row in stored["examples"]] == [
        (1, "r1", "schema", None)
    ]
    assert "Ticket number 1" not in shell.call("report", "label").stdout
    assert "Summarise: Ticket number 1: " in shell.call("report", "label", "--with-text").stdout
    facts = orjson.loads(shell.call("report", "label", "--with-text", "--json", "--html", "page.html").stdout)
    assert facts["examples"][0]["text"].startswith("Summarise: Ticket number 1: ")
    assert "Summarise: Ticket number 1: " in (shell.folder / "page.html").read_text()


def test_check_renders_a_row_and_sends_nothing(shell: Shell) -> None:
    made_up = shell.call("check", "label").stdout
    assert "label: usable" in made_up
    assert "Summarise: (text)" in made_up
    shell.write("in.jsonl", tickets(2))
    assert "Summarise: Ticket number 0" in shell.call("check", "label", "-i", "in.jsonl").stdout
    facts = orjson.loads(shell.call("check", "label", "--json", "--set", "request.model=m-9").stdout)
    assert facts["request"]["model"] == "m-9"
    assert len(facts["request"]["key"]) == 64


def test_init_makes_a_pipeline_that_runs(shell: Shell) -> None:
    said = shell.call("init", "moods").stdout
    assert "llmbatch check moods" in said
    shell.call("check", "moods")
    shell.write("in.jsonl", tickets(5))
    shell.call("run", "moods", "-i", "in.jsonl", "--provider", "offline", "--quiet")
    report = orjson.loads((shell.folder / "results/moods/report.json").read_bytes())
    assert report["rows"]["done"] == 5
    assert "not empty" in shell.call("init", "moods", expect=2).stderr


def test_off_a_terminal_there_are_plain_lines_and_a_last_one_to_grep(shell: Shell) -> None:
    shell.write("in.jsonl", tickets(5))
    shell.env = {"PATH": shell.env["PATH"], "LANG": "C"}  # as cron has it: no HOME, no TERM
    done = shell.call("run", "label", "-i", "in.jsonl", "--provider", "offline")
    assert "\x1b" not in done.stdout + done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(
        "llmbatch: pipeline=label status=finished done=5 reused=0 failed=0 skipped=0 pending=0 total=5 "
    )
    assert last.endswith(" exit=0")


def test_quiet_prints_nothing(shell: Shell) -> None:
    shell.write("in.jsonl", tickets(5))
    done = shell.call("run", "label", "-i", "in.jsonl", "--provider", "offline", "--quiet")
    assert (done.stdout, done.stderr) == ("", "")


def test_version_and_help(shell: Shell) -> None:
    assert shell.call("--version").stdout.startswith("llmbatch 0.")
    for command in ("run", "check", "init", "status", "runs", "report", "show", "simulate"):
        assert "EXIT STATUS" in shell.call(command, "--help").stdout


@pytest.mark.parametrize(
    ("argv", "absent"),
    [
        (["--help"], ["openai", "polars", "duckdb", "genai_prices", "pydantic_settings", "aiohttp", "rich.progress"]),
        (["check", "label"], ["openai", "polars", "duckdb", "genai_prices", "aiohttp"]),
    ],
)
def test_heavy_imports_wait_for_the_command_that_needs_them(shell: Shell, argv: list[str], absent: list[str]) -> None:
    code = (
        "import sys; from llmbatch.cli import main; status = main(sys.argv[1:]);"
        f"print([m for m in {absent!r} if m in sys.modules], status, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], cwd=shell.folder, capture_output=True, text=True, check=True
    )
    assert done.stderr.strip().endswith("[] 0")
