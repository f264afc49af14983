"""`llmbatch run` from outside: files, reports, exit statuses."""

import signal
import stat
from pathlib import Path

import orjson
import polars as pl
import pytest

from llmbatch.simulator import Fault, Latency, Scenario, Server
from tests.cli.conftest import Serve, Shell, tickets


def scenario(*faults: Fault, latency_ms: float = 0) -> Scenario:
    return Scenario(fault=faults, server=Server(brain="echo"), latency=Latency(median_ms=latency_ms))


def edit(shell: Shell, file: str, old: str, new: str) -> None:
    path = shell.pipeline / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_a_night_and_the_next(shell: Shell, serve: Serve) -> None:
    """5 % new and 2 % edited rows: exactly those are sent."""
    server = serve(scenario())
    rows = tickets(200)
    shell.write("monday.jsonl", rows)
    monday = shell.run("-i", "monday.jsonl", url=server.base_url)
    assert monday["rows"]["done"] == 200
    assert monday["changes"] is None
    tuesday_rows = [*tickets(10, first=1_000), *rows[3:]]
    for n in range(4):
        tuesday_rows[20 + n * 30]["text"] += " Edited."
    shell.write("tuesday.jsonl", tuesday_rows)
    before = server.account.total.requests
    tuesday = shell.run("-i", "tuesday.jsonl", url=server.base_url)
    assert server.account.total.requests - before == 14
    assert tuesday["rows"] == {"total": 207, "done": 14, "reused": 193, "failed": 0, "skipped": 0, "pending": 0}
    assert tuesday["changes"] == {"reused": 193, "new": 10, "changed": 4, "gone": 3}
    assert [row["id"] for row in shell.results()] == [row["id"] for row in tuesday_rows]


def test_what_an_edit_costs(shell: Shell, serve: Serve) -> None:
    """An edited [limits] sends none, an edited check sends none and judges all again, an edited prompt sends all."""
    server = serve(scenario())
    shell.write("in.jsonl", tickets(30))
    shell.run("-i", "in.jsonl", url=server.base_url)
    edit(shell, "pipeline.toml", "concurrency = 16", "concurrency = 3\nrequests_per_minute = 100000")
    assert shell.run("-i", "in.jsonl", url=server.base_url)["rows"]["reused"] == 30
    (shell.pipeline / "hooks.py").write_text(
        "def check(output, row):\n    return ['not liked'] if row['id'] == 'r7' else []\n"
    )
    report = shell.run("-i", "in.jsonl", "--set", "limits.max_attempts=1", url=server.base_url, expect=3)
    assert (report["rows"]["reused"], report["failures"]) == (29, {"check": 1})
    assert server.account.total.requests == 30
    edit(shell, "prompt.j2", "Summarise", "Sum up")
    assert shell.run("-i", "in.jsonl", "--max-failed", "5", url=server.base_url)["attempts"]["sent"] >= 30
    assert server.account.total.requests >= 60


def test_results_hold_every_row_in_order_with_its_columns(shell: Shell, serve: Serve) -> None:
    server = serve(scenario(Fault(kind="refusal", match="number 2:"), Fault(kind="wrong_shape", match="number 3:")))
    rows = [{"z": None, "text": row["text"], "id": row["id"], "n": {"deep": [1, 2.5, "ü"]}} for row in tickets(5)]
    path = shell.write("in.jsonl", rows)
    path.write_bytes(path.read_bytes() + b"{broken\n")
    report = shell.run("-i", "in.jsonl", "--skip-bad-rows", url=server.base_url, expect=3)
    assert report["rows"] == {"total": 6, "done": 3, "reused": 0, "failed": 2, "skipped": 1, "pending": 0}
    assert report["failures"] == {"refusal": 1, "schema": 1}
    assert report["skips"] == {"bad_row": 1}
    results = shell.results()
    assert [{name: row[name] for name in rows[0]} for row in results[:5]] == rows
    assert list(results[0]) == [
        *rows[0],
        "summary",
        "llmbatch_status",
        "llmbatch_error",
        "llmbatch_key",
        "llmbatch_model",
        "llmbatch_prompt_version",
        "llmbatch_cost_usd",
    ]
    assert [row["llmbatch_status"] for row in results] == ["done", "done", "failed", "failed", "done", "skipped"]
    assert results[2]["summary"] is None
    assert results[3]["llmbatch_error"].startswith("schema: ")
    failed = [orjson.loads(line) for line in (shell.folder / "results/label/failed.jsonl").read_bytes().splitlines()]
    assert [row["row_no"] for row in failed] == [2, 3]
    assert "choices" in failed[1]["last_reply"]


def test_parquet_in_parquet_out(shell: Shell, serve: Serve) -> None:
    server = serve(scenario())
    frame = pl.DataFrame(tickets(50)).with_columns(
        day=pl.date(2026, 11, 23), amount=pl.lit("12.30").cast(pl.Decimal(10, 2)), tags=pl.lit(["a", "b"])
    )
    frame.write_parquet(shell.folder / "in.parquet")
    shell.run("-i", "in.parquet", url=server.base_url)
    results = pl.read_parquet(shell.folder / "results/label/results.parquet")
    assert results.select(frame.columns).equals(frame)
    assert results.schema["summary"] == pl.String
    assert results["llmbatch_status"].to_list() == ["done"] * 50


@pytest.mark.slow
def test_stdin_globs_and_compression_give_the_same_rows(shell: Shell, serve: Serve) -> None:
    import gzip

    server = serve(scenario())
    lines = shell.write("all.jsonl", tickets(20)).read_bytes().splitlines(keepends=True)
    (shell.folder / "part-1.jsonl.gz").write_bytes(gzip.compress(b"".join(lines[:12])))
    (shell.folder / "part-2.jsonl").write_bytes(b"".join(lines[12:]))
    shell.run("-i", "all.jsonl", url=server.base_url)
    want = shell.results()
    assert shell.run("-i", "part-*", url=server.base_url)["rows"]["reused"] == 20
    assert [r["id"] for r in shell.results()] == [r["id"] for r in want]
    assert shell.run("-i", "-", url=server.base_url, stdin=b"".join(lines).decode())["rows"]["reused"] == 20
    assert [r["summary"] for r in shell.results()] == [r["summary"] for r in want]
    assert not list((shell.folder / ".llmbatch").glob("*spool*"))


def test_an_empty_input_gives_empty_results(shell: Shell, serve: Serve) -> None:
    server = serve(scenario())
    (shell.folder / "in.jsonl").write_bytes(b"")
    report = shell.run("-i", "in.jsonl", url=server.base_url)
    assert report["rows"]["total"] == 0
    assert shell.results() == []


def test_limit_takes_the_first_rows(shell: Shell, serve: Serve) -> None:
    server = serve(scenario())
    shell.write("in.jsonl", tickets(20))
    assert shell.run("-i", "in.jsonl", "--limit", 5, url=server.base_url)["rows"]["total"] == 5
    assert [r["id"] for r in shell.results()] == ["r0", "r1", "r2", "r3", "r4"]
    assert shell.run("-i", "in.jsonl", url=server.base_url)["rows"] | {} == {
        "total": 20, "done": 15, "reused": 5, "failed": 0, "skipped": 0, "pending": 0,
    }  # fmt: skip


def test_the_bill_adds_up(shell: Shell, serve: Serve) -> None:
    server = serve(scenario(Fault(kind="wrong_shape", times=1, share=0.3)))
    shell.write("in.jsonl", tickets(60))
    with (shell.pipeline / "pipeline.toml").open("a") as file:
        file.write("[prices.m-1]\ninput = 2\noutput = 8\n")
    report = shell.run("-i", "in.jsonl", url=server.base_url)
    paid = server.account.total
    dollars = float(paid.dollars(2, 8))  # type: ignore[arg-type]
    assert report["attempts"]["sent"] == paid.requests > 60
    assert report["tokens"]["input"] == paid.input
    assert report["tokens"]["output"] == paid.output
    assert report["cost"]["total_usd"] == pytest.approx(dollars, abs=1e-9)
    assert 0 < report["cost"]["invalid_usd"] < report["cost"]["total_usd"]
    assert sum(row["llmbatch_cost_usd"] for row in shell.results()) == pytest.approx(dollars, abs=1e-9)
    again = shell.run("-i", "in.jsonl", url=server.base_url)
    assert again["cost"]["total_usd"] == 0
    assert again["cost"]["saved_by_reuse_usd"] == pytest.approx(dollars - report["cost"]["invalid_usd"], abs=1e-9)


def test_an_unknown_price_is_null_and_said(shell: Shell, serve: Serve) -> None:
    server = serve(scenario())
    shell.write("in.jsonl", tickets(3))
    out = shell.call("run", "label", "-i", "in.jsonl", "--base-url", server.base_url).stdout
    report = orjson.loads((shell.folder / "results/label/report.json").read_bytes())
    assert report["cost"]["total_usd"] is None
    assert report["cost"]["unpriced_attempts"] == 3
    assert [row["llmbatch_cost_usd"] for row in shell.results()] == [None] * 3
    assert "unknown" in out


@pytest.mark.parametrize(
    ("kind", "status"),
    [("bad_key", "provider_down"), ("insufficient_quota", "provider_down"), ("unknown_model", "provider_down")],
)
def test_a_refusing_provider_is_exit_6_and_resumable(shell: Shell, serve: Serve, kind: str, status: str) -> None:
    server = serve(scenario(Fault(kind=kind)))
    shell.write("in.jsonl", tickets(40))
    report = shell.run("-i", "in.jsonl", url=server.base_url, expect=6)
    assert (report["status"], report["exit_code"], report["rows"]["pending"]) == (status, 6, 40)
    assert len(shell.results()) == 40
    assert {row["llmbatch_status"] for row in shell.results()} == {"pending"}
    fine = serve(scenario())
    assert shell.run("-i", "in.jsonl", url=fine.base_url)["rows"]["done"] == 40


def test_the_budget_is_exit_4_and_more_goes_on(shell: Shell, serve: Serve) -> None:
    server = serve(scenario())
    shell.write("in.jsonl", tickets(40))
    with (shell.pipeline / "pipeline.toml").open("a") as file:
        file.write("[prices.m-1]\ninput = 1000\noutput = 1000\n")
    first = shell.run("-i", "in.jsonl", "--budget", "1.5", url=server.base_url, expect=4)
    assert 0 < first["rows"]["done"] < 40
    assert first["cost"]["total_usd"] <= 1.5
    stuck = shell.run("-i", "in.jsonl", "--budget", "1.5", url=server.base_url, expect=4)
    assert first["cost"]["total_usd"] + stuck["cost"]["total_usd"] <= 1.5  # the cap holds over resumes
    done = shell.run("-i", "in.jsonl", "--budget", "100", url=server.base_url)
    assert done["rows"]["pending"] == 0
    assert server.account.total.requests == 40
    assert len(done["resumed"]) == 2


def test_a_deadline_is_exit_5_with_results_for_what_is_done(shell: Shell, serve: Serve) -> None:
    server = serve(scenario(latency_ms=300))
    shell.write("in.jsonl", tickets(400))
    report = shell.run("-i", "in.jsonl", "--deadline", "4s", "--concurrency", "4", url=server.base_url, expect=5)
    assert report["status"] == "deadline_reached"
    assert 0 < report["rows"]["done"] < 400
    assert report["wall_s"] < 4.5
    assert server.account.total.requests == report["rows"]["done"]


def test_a_second_run_is_exit_75_at_once_and_the_first_unharmed(shell: Shell, serve: Serve) -> None:
    server = serve(scenario(latency_ms=500))
    shell.write("in.jsonl", tickets(60))
    first = shell.start("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--concurrency", "10")
    while server.account.total.requests < 10:
        assert first.poll() is None
    first.send_signal(signal.SIGSTOP)  # however busy the machine, it holds the ledger meanwhile
    second = shell.call("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, expect=75)
    first.send_signal(signal.SIGCONT)
    assert f"pid {first.pid}" in second.stderr
    waited = shell.start("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--wait", "--quiet")
    assert first.communicate(timeout=60)[0]
    assert first.returncode == 0
    waited.communicate(timeout=60)
    assert waited.returncode == 0
    assert server.account.total.requests == 60


def test_quiet_is_silent_about_what_went_well_and_not_about_a_status(shell: Shell, serve: Serve) -> None:
    server = serve(scenario())
    shell.write("in.jsonl", tickets(3))
    words = ("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--quiet")
    well = shell.call(*words)
    assert (well.stdout, well.stderr) == ("", "")
    (shell.pipeline / "hooks.py").write_text("def check(output, row):\n    return ['not liked']\n")
    bad = shell.call(*words, "--set", "limits.max_attempts=1", expect=3)
    assert bad.stdout == ""
    assert bad.stderr == (
        "llmbatch: Finished, but too many rows failed: 0 of 3 rows valid, 3 failed.\n"
        "  the report: results/label/report.json\n"
    )


def test_files_are_for_their_owner_only(shell: Shell, serve: Serve) -> None:
    server = serve(scenario())
    shell.write("in.jsonl", tickets(3))
    shell.run("-i", "in.jsonl", url=server.base_url)
    made = [*(shell.folder / ".llmbatch").rglob("*"), *(shell.folder / "results").rglob("*")]
    assert len(made) >= 7
    for path in [*made, shell.folder / "results", shell.folder / ".llmbatch"]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_keys_are_nowhere_on_disk(shell: Shell, serve: Serve) -> None:
    server = serve(scenario(Fault(kind="echo_key", status=500, share=0.3, times=1)))
    secret = "sk-proj-planted-0123456789abcdef"
    shell.env["OPENAI_API_KEY"] = secret
    shell.write("in.jsonl", tickets(30))
    shell.run("-i", "in.jsonl", url=server.base_url)
    for path in shell.folder.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


def test_results_may_go_elsewhere(shell: Shell, serve: Serve, tmp_path: Path) -> None:
    server = serve(scenario())
    shell.write("in.jsonl", tickets(3))
    paths = ("--output", "out/put", "--ledger", "led/ger.db")
    printed = shell.call("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, *paths, "--json").stdout
    assert orjson.loads(printed)["rows"]["done"] == 3
    assert (tmp_path / "out/put/results.jsonl").exists()
    assert (tmp_path / "led/ger.db").exists()
