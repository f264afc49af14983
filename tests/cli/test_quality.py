"""Graders, floors and drift in runs, in processes of their own against the simulator."""

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from llmbatch.simulator import Fault, Latency, Scenario, Server
from tests.cli.conftest import TOML, Serve, Shell, tickets

GRADER = """
[quality.graders.summary]
kind = "exact"
field = "summary"
gold = "gold"
"""


def echo(*faults: Fault) -> Scenario:
    """Every answer is {"summary": "simulated"}."""
    return Scenario(fault=faults, server=Server(brain="echo"), latency=Latency(median_ms=0))


def add(shell: Shell, text: str) -> None:
    path = shell.pipeline / "pipeline.toml"
    path.write_text(path.read_text() + text)


def labelled(count: int, right: int, first: int = 0) -> list[dict[str, Any]]:
    rows = tickets(count, first)
    return [{**row, "gold": "simulated" if n < right else "SECRET-LABEL"} for n, row in enumerate(rows)]


def test_rows_are_graded_and_a_failed_one_is_wrong(shell: Shell, serve: Serve) -> None:
    add(shell, GRADER)
    server = serve(echo(Fault(kind="refusal", match="number 3:")))
    shell.write("in.jsonl", [*labelled(20, 15), {"id": "x", "text": "no label here"}])
    report = shell.run("-i", "in.jsonl", "--max-failed", "1", url=server.base_url)
    (graded,) = report["quality"]["graders"]
    assert {name: graded[name] for name in ("rows", "failed", "ungraded", "passed")} == {
        "rows": 20,
        "failed": 1,
        "ungraded": 1,
        "passed": 14,
    }
    assert graded["mean"] == pytest.approx(0.7)
    assert 0.48 < graded["interval"]["low"] < 0.5
    told = shell.call("report", "label").stdout
    assert "Quality     summary: 70.0% (48.1 to 85.5%) of 20 rows, 1 failed and wrong, 1 without gold" in told
    again = shell.run("-i", "in.jsonl", "--max-failed", "1", url=server.base_url)
    assert again["quality"]["graders"] == report["quality"]["graders"]  # reused rows are in the results too
    assert again["quality"]["profile"]["rows"] == 0
    assert "0 newly answered rows are too few" in again["quality"]["drift"]["reason"]


def test_gold_reaches_nothing_that_is_sent(shell: Shell, serve: Serve, tmp_path: Path) -> None:
    add(shell, GRADER)
    seen = tmp_path / "seen"
    (shell.pipeline / "hooks.py").write_text(
        f"def check(output, row):\n    open({str(seen)!r}, 'a').write(str(row))\n    return []\n"
    )
    (shell.pipeline / "prompt.j2").write_text("{{ row }} {% for name in row %}{{ row[name] }} {% endfor %}")
    shell.write("in.jsonl", labelled(3, 1))
    server = serve(echo())
    shell.run("-i", "in.jsonl", url=server.base_url)
    assert "number 2" in seen.read_text()
    assert "SECRET-LABEL" not in seen.read_text()
    told = shell.call("show", "label", "r2").stdout
    assert "number 2" in told
    assert "SECRET-LABEL" not in told
    assert shell.results()[2]["gold"] == "SECRET-LABEL"


@pytest.mark.parametrize(
    ("prompt", "grader", "words"),
    [
        ("{{ text }} {{ gold }}", GRADER, "prompt.j2 shows 'gold'"),
        ("{{ text }}", GRADER.replace('"summary"\ngold', '"sumary"\ngold'), "did you mean 'summary'?"),
        ("{{ text }}", '\n[quality.graders.mine]\nkind = "python"\n', "hooks.py defines no grade"),
        ("{{ text }}", '\n[quality.graders.mine]\nkind = "exakt"\n', "quality.graders.mine.kind"),
        ("{{ text }}", GRADER + "golt = 1\n", "did you mean 'quality.graders.NAME.gold'?"),
    ],
)
def test_graders_that_cannot_be_right_are_mistakes(shell: Shell, prompt: str, grader: str, words: str) -> None:
    add(shell, grader)
    (shell.pipeline / "prompt.j2").write_text(prompt)
    shell.write("in.jsonl", labelled(3, 1))
    done = shell.call("run", "label", "-i", "in.jsonl", "--provider", "offline", expect=2)
    assert words in done.stderr
    assert not (shell.folder / ".llmbatch/label.duckdb").exists()


def test_below_the_floor_is_exit_7_with_results(shell: Shell, serve: Serve) -> None:
    add(shell, GRADER + "floor = 0.9\n")
    server = serve(echo())
    shell.write("in.jsonl", labelled(60, 40))
    report = shell.run("-i", "in.jsonl", url=server.base_url, expect=7)
    assert report["status"] == "quality_failed"
    assert report["rows"]["done"] == 60
    assert "grader summary is below its floor of 90.0%" in report["notes"]
    assert len(shell.results()) == 60
    assert shell.call("report", "label").stdout.startswith(
        "Finished, but the quality gate failed: 60 of 60 rows valid."
    )
    again = shell.run("-i", "in.jsonl", url=server.base_url, expect=7)
    assert again["rows"]["reused"] == 60
    assert again["resumed"] == []  # it had reached every row


@pytest.mark.slow
def test_a_night_that_is_worse(shell: Shell, serve: Serve) -> None:
    server = serve(echo(Fault(kind="refusal", match="BAD")))
    shell.write("in.jsonl", tickets(100))
    good = shell.run("-i", "in.jsonl", url=server.base_url)
    bad = [{**row, "text": f"BAD {row['text']}"} for row in tickets(60, 100)]
    shell.write("in.jsonl", [*tickets(100), *bad])
    strict = ("-i", "in.jsonl", "--max-failed", "100%", "--set", "quality.on_drift=fail")
    report = shell.run(*strict, url=server.base_url, expect=7)
    drift = report["quality"]["drift"]
    assert drift["against"] == [good["run_id"]]
    assert (drift["rows"], drift["rows_before"]) == (60, 100)  # the reused ones say nothing of tonight
    assert {move["what"] for move in drift["moves"] if move["worse"]} >= {"invalid", "refusal", "failed"}
    assert "refusal is not as it was on the nights before" in report["notes"]
    told = " ".join(shell.call("report", "label").stdout.split())
    assert re.search(r"refusal: 0\.0% -> 100\.0% \(\+9\d\.\d to \+100\.0 points\), worse", told)
    off = shell.run(*strict[:-1], "quality.on_drift=off", url=server.base_url)
    assert off["quality"]["drift"] is None


def test_a_changed_prompt_is_named(shell: Shell, serve: Serve) -> None:
    server = serve(echo())
    shell.write("in.jsonl", tickets(60))
    shell.run("-i", "in.jsonl", url=server.base_url)
    (shell.pipeline / "prompt.j2").write_text("Sum up: {{ text }}")
    quality = shell.run("-i", "in.jsonl", url=server.base_url)["quality"]
    drift = quality["drift"]
    assert drift["reason"] is None
    assert len(orjson.dumps(quality)) < 4_000  # the ledger keeps it for every night
    assert [change.split()[0] for change in drift["changed"]] == ["prompt_version"]


@pytest.mark.slow
def test_a_stored_run_is_graded_again(shell: Shell) -> None:
    """With graders that it did not have, a gold file, a sample; never on another input than its own."""
    (shell.pipeline / "pipeline.toml").write_text(
        TOML + '[quality.graders.kept]\nkind = "pattern"\nfield = "summary"\nmust = ["Ticket number 1"]\n'
    )
    rows = labelled(20, 0)
    shell.write("in.jsonl", rows)
    shell.call("run", "label", "-i", "in.jsonl", "--provider", "offline", "--quiet")
    told = shell.call("grade", "label").stdout
    assert "kept: 55.0% (34.2 to 74.2%) of 20 rows" in told
    some = orjson.loads(shell.call("grade", "label", "--sample", 5, "--json").stdout)["graders"][0]
    assert some["rows"] == 5
    assert 0.1 < some["interval"]["high"] - some["interval"]["low"] < 0.8

    summaries = {row["id"]: row["summary"] for row in shell.results()}
    gold = [
        {"id": row_id, "gold": summaries[row_id] if n < 12 else "?"} for n, row_id in enumerate(list(summaries)[:15])
    ]
    shell.write("gold.jsonl", gold)
    add(shell, GRADER + "floor = 0.99\n")
    (shell.folder / "in.jsonl").rename(shell.folder / "moved.jsonl")
    missing = shell.call("grade", "label", expect=2)
    assert "in.jsonl" in missing.stderr
    command = ("grade", "label", "--gold", "gold.jsonl", "-i", "moved.jsonl", "--json")
    graded = {one["name"]: one for one in orjson.loads(shell.call(*command, expect=7).stdout)["graders"]}
    assert (graded["summary"]["passed"], graded["summary"]["rows"], graded["summary"]["ungraded"]) == (12, 15, 5)
    shell.write("moved.jsonl", [*rows, {"id": "new", "text": "x"}])
    assert "its bytes differ" in shell.call(*command, expect=2).stderr
    assert "no run 1999" in shell.call("grade", "label", "1999", expect=2).stderr


def test_prompt_versions_stand_beside_each_other(shell: Shell, serve: Serve) -> None:
    """Quality, invalid answers, latency and cost of the version before and of this one."""
    add(shell, GRADER + "[prices.m-1]\ninput = 1\noutput = 1\n")
    server = serve(echo(Fault(kind="not_json", match="Summarise", times=1)))
    shell.write("in.jsonl", labelled(20, 15))
    shell.run("-i", "in.jsonl", url=server.base_url)
    (shell.pipeline / "prompt.j2").write_text("Sum up: {{ text }}")
    shell.write("in.jsonl", labelled(20, 19))
    report = shell.run("-i", "in.jsonl", url=server.base_url)
    new, old = report["cost"]["by_prompt_version"]
    assert (new["score"], new["invalid_rate"], old["score"], old["invalid_rate"]) == (0.95, 0.0, 0.75, 0.5)
    assert new["p50_ms"] > 0 < old["p50_ms"]
    assert old["cost_usd"] > new["cost_usd"]
    page = (shell.folder / "results/label/report.html").read_text()
    assert "Per 1,000 answers" in page
    assert ">75.0%<" in page
    runs, text = shell.call("runs", "label").stdout, " ".join(shell.call("report", "label").stdout.split())
    head, *lines = runs.partition("prompt versions, over all runs\n")[2].splitlines()
    assert head.split()[:3] == ["version", "score", "invalid"]
    assert [line.split()[1:3] for line in lines] == [["95.0%", "0.0%"], ["75.0%", "50.0%"]]
    assert f"Versions {new['prompt_version'][:12]}: score 95.0%, invalid 0.0%, p50 " in text
