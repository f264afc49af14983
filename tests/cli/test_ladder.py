"""A ladder of models from end to end: cost and quality by rung, nights, kills, budgets, batches."""

import os
import time
from decimal import Decimal
from typing import Any

import duckdb
import pytest

from llmbatch.cli.app import main
from llmbatch.simulator import Clock, Fault, Latency, Limits, Model, Scenario, Server, Simulator
from tests.cli.conftest import Serve, Shell, tickets

PRICES = {"small": Decimal(1), "large": Decimal(20)}
LADDER = """
[quality.graders.right]
kind = "exact"
field = "summary"
gold = "gold"

[quality.graders.clean]
kind = "pattern"
field = "summary"
must_not = ["^not "]
climb_below = 1.0
""" + "".join(f"\n[prices.{model}]\ninput = {usd}\noutput = {usd}\n" for model, usd in PRICES.items())


def scenario(*faults: Fault, **changes: Any) -> Scenario:
    """A small model that is wrong or invalid rather often, and a large one that is so seldom."""
    models = {"small": Model(error_rate=0.2, invalid_rate=0.3), "large": Model(error_rate=0.03)}
    return Scenario(server=Server(brain="echo"), model=models, fault=faults, **changes)


@pytest.fixture
def ladder(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A pipeline with two models; runs are made in this process."""
    path = shell.pipeline / "pipeline.toml"
    path.write_text(
        path.read_text()
        .replace('model = "m-1"', 'ladder = ["small", "large"]')
        .replace("timeout_s = 5", "timeout_s = 60")
        + LADDER
    )
    monkeypatch.chdir(shell.folder)
    for name in [name for name in os.environ if name.startswith(("OPENAI_", "AZURE_"))]:
        monkeypatch.delenv(name)
    return shell


def rows(shell: Shell, count: int) -> None:
    shell.write("in.jsonl", [{**row, "gold": "simulated"} for row in tickets(count)])


def night(shell: Shell, server: Simulator, *args: object, expect: int = 0) -> dict[str, Any]:
    """`llmbatch run`, in this process; report.json."""
    import orjson

    command = ("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--quiet", *args)
    assert main(list(map(str, command))) == expect
    report: dict[str, Any] = orjson.loads((shell.folder / "results/label/report.json").read_bytes())
    return report


def test_rows_climb_once_and_a_second_night_pays_for_nothing(ladder: Shell, serve: Serve) -> None:
    shell, server = ladder, serve(scenario())
    rows(shell, 200)
    report = night(shell, server)
    sums = server.account.by_model
    billed = sum(sums[model].dollars(usd, usd) for model, usd in PRICES.items())
    assert report["cost"]["total_usd"] == pytest.approx(float(billed))
    assert report["rows"]["done"] == 200
    by_model = {model: sum(row["llmbatch_model"] == model for row in shell.results()) for model in PRICES}
    assert by_model["small"] + by_model["large"] == 200
    assert by_model["large"] == sums["large"].requests > 30  # asked once each, and no row twice
    assert all(row["summary"] == "simulated" for row in shell.results() if row["llmbatch_model"] == "small")
    climbed = next(row["id"] for row in shell.results() if row["llmbatch_model"] == "large")
    story = shell.call("show", "label", climbed).stdout
    assert "left small, rung 1: " in story
    assert "ended at large, rung 2" in story
    assert (
        story.index("left small") < story.index("  small, ") < story.index("ended at large") < story.index("  large, ")
    )
    again = night(shell, server)
    assert (again["attempts"]["sent"], again["rows"]["reused"]) == (0, 200)
    assert again["changes"] == {"reused": 200, "new": 0, "changed": 0, "gone": 0}
    lower = night(shell, server, "--set", "quality.graders.clean.climb_below=0.0")  # wrong answers serve now
    assert (lower["attempts"]["sent"], lower["changes"]["changed"]) == (0, 0)
    invalid = lower["ladder"]["rungs"][0]["climbed"]
    assert 0 < invalid < by_model["large"]
    assert night(shell, server)["changes"] == {"reused": 200, "new": 0, "changed": 0, "gone": 0}
    # a rung has the keys of its model alone, whose invalid rows stay so
    alone = night(shell, server, "--model", "small", expect=3)
    assert (alone["attempts"]["sent"], alone["model"]) == (0, "small")
    with duckdb.connect(str(shell.folder / ".llmbatch/label.duckdb"), read_only=True) as con:
        climbs = con.execute("select run_no, count(*) from climbs group by all order by all").fetchall()
        models = con.execute("select model from prompt_versions order by all").fetchall()
    assert climbs == [(n, invalid if n == 3 else by_model["large"]) for n in (1, 2, 3, 4)]
    assert models == [("large",), ("small",), ("small>large",)]


def test_cost_and_quality_by_rung_are_those_of_the_simulators_account(ladder: Shell, serve: Serve) -> None:
    """The grader sees half of the small model's mistakes, so that it serves wrong answers too."""
    shell = ladder
    path = shell.pipeline / "pipeline.toml"
    path.write_text(
        path.read_text().replace('kind = "pattern"\nfield = "summary"\nmust_not = ["^not "]', 'kind = "python"')
    )
    sees = "def grade(output, row): return not (output['summary'].startswith('not ') and int(row['id'][1:]) % 2)\n"
    (shell.pipeline / "hooks.py").write_text(sees)
    server = serve(scenario())
    rows(shell, 300)
    report = night(shell, server)
    small, large = report["ladder"]["rungs"]
    asked = {model: [s for s in server.account.requests if s.model == model] for model in PRICES}
    climbed = {served.user_hash for served in asked["large"]}
    wrong = {served.user_hash for served in asked["small"] if served.played == "wrong"} - climbed

    assert (small["rows"], small["climbed"], small["served"]) == (300, len(climbed), 300 - len(climbed))
    assert (large["rows"], large["served"], large["climbed"]) == (len(climbed), len(climbed), 0)
    assert small["why"]["floor"] + small["why"]["schema"] == len(climbed)
    for model, rung in (("small", small), ("large", large)):
        sums = server.account.by_model[model]
        assert (rung["calls"], rung["cost_usd"]) == (sums.requests, float(sums.dollars(PRICES[model], PRICES[model])))
        assert rung["usd_per_row"] == pytest.approx(rung["cost_usd"] / rung["rows"])
    right = {
        "small": 1 - len(wrong) / small["served"],
        "large": 1 - server.account.by_model["large"].wrong / large["served"],
    }
    assert {rung["model"]: rung["scores"]["right"]["mean"] for rung in (small, large)} == pytest.approx(right)
    assert 0.7 < right["small"] < 0.98

    costs = [rung["usd_per_row"] for rung in (small, large)]
    assert small["break_even"] == pytest.approx(1 - costs[0] / costs[1])
    assert report["ladder"]["usd_per_1000_rows"] == pytest.approx(1000 * report["cost"]["total_usd"] / 300)
    assert report["ladder"]["pays"] is True
    assert "small pays: " in report["ladder"]["verdict"]
    page = (shell.folder / "results/label/report.html").read_text()
    assert report["ladder"]["verdict"] in page


def test_a_ladder_that_no_longer_pays_says_so(ladder: Shell, serve: Serve) -> None:
    shell, server = ladder, serve(scenario())
    rows(shell, 100)
    report = night(shell, server, "--set", "prices.large.input=1.2", "--set", "prices.large.output=1.2")
    assert report["ladder"]["pays"] is False
    assert "small no longer pays: " in report["ladder"]["verdict"]
    assert "Ladder " in shell.call("report", "label").stdout


def test_a_broken_ladder_is_a_mistake(ladder: Shell, capfd: pytest.CaptureFixture[str]) -> None:
    path = ladder.pipeline / "pipeline.toml"
    text = path.read_text()
    for told, words in (
        ('ladder = ["small"]', "two models or more"),
        ('ladder = ["small", "small"]', "two models or more, each once"),
        ('ladder = ["small", "a>b"]', "the name of a model"),
        ('model = "large"\nladder = ["small", "large"]', "leave out model"),
        ('model = "small"', "has no ladder to climb"),
    ):
        path.write_text(text.replace('ladder = ["small", "large"]', told))
        assert main(["check", "label"]) == 2
        assert words in capfd.readouterr().err
    path.write_text(text)
    rows(ladder, 1)
    assert main(["run", "label", "-i", "in.jsonl", "--engine", "ray", "--base-url", "http://127.0.0.1:9/v1"]) == 2
    assert "--engine ray asks one model" in capfd.readouterr().err
    path.write_text(text.replace("climb_below = 1.0", "").replace('gold = "gold"', 'gold = "gold"\nclimb_below = 0.5'))
    assert main(["check", "label"]) == 2
    assert "climb_below needs a grader that grades a row at once" in capfd.readouterr().err


@pytest.mark.slow
def test_the_budget_is_one_for_all_models(ladder: Shell, serve: Serve) -> None:
    shell, server = ladder, serve(scenario())
    rows(shell, 150)
    report = night(shell, server, "--budget", "0.02", expect=4)
    assert 0 < report["cost"]["total_usd"] <= 0.02
    assert report["rows"]["pending"] > 0
    assert night(shell, server, "--budget", "5")["rows"]["pending"] == 0
    sums = server.account.by_model
    assert sums["large"].requests == sum(row["llmbatch_model"] == "large" for row in shell.results())


@pytest.mark.slow
def test_each_model_has_limits_of_its_own(ladder: Shell, serve: Serve) -> None:
    shell, server = ladder, serve(scenario(limits=Limits(requests_per_minute=60_000, per_model=True)))
    rows(shell, 60)
    report = night(shell, server)
    told = {change["model"] for change in report["limits"]["changes"] if change["what"] == "requests_per_minute"}
    assert told == {"small", "large"}


def test_rows_of_a_batch_climb_too(ladder: Shell, serve: Serve) -> None:
    shell, server = ladder, serve(scenario(clock=Clock(speed=1_000)))
    rows(shell, 80)
    report = night(shell, server, "--tier", "batch", "--set", "batch.poll_s=0.05", "--set", "provider.like=openai")
    assert report["rows"]["done"] == 80
    by_model = {model: sum(row["llmbatch_model"] == model for row in shell.results()) for model in PRICES}
    assert server.account.by_model["large"].requests == by_model["large"] > 10
    assert night(shell, server)["attempts"]["sent"] == 0


def test_refused_rows_climb_and_those_of_a_dead_model_do_not(ladder: Shell, serve: Serve) -> None:
    shell = ladder
    rows(shell, 40)
    refuse = Fault(kind="refusal", match="Ticket number 7:")
    long = Fault(kind="context_length", match="Ticket number 8:", times=1)
    down = Fault(kind="server_error", match="Ticket number 9:", times=4)
    server = serve(scenario(refuse, long, down))
    report = night(shell, server, "--set", "limits.max_attempts=2", expect=3)
    by_row = {row["id"]: row for row in shell.results()}
    assert by_row["r7"]["llmbatch_error"].startswith("refusal")  # both models refuse
    assert by_row["r8"]["llmbatch_model"] == "large"  # it was too long for the small one
    assert by_row["r9"]["llmbatch_error"].startswith("transient")  # no dearer model for a fault of the server's
    assert report["failures"] == {"refusal": 1, "transient": 1}


def test_a_plan_counts_climbs_by_history_or_says_that_it_does_not_know(
    ladder: Shell, serve: Serve, capfd: pytest.CaptureFixture[str]
) -> None:
    import orjson

    shell, server = ladder, serve(scenario())
    rows(shell, 400)

    def plan(*args: object) -> str:
        assert main(["plan", "label", "-i", "in.jsonl", "--base-url", server.base_url, *map(str, args)]) == 0
        return capfd.readouterr().out

    first = plan()
    assert "how many rows climb from small is not known" in first
    shape = orjson.loads(plan("--probe", 60, "--json"))
    small, large = shape["ladder"]
    assert small["basis"] == "a probe, 60 rows"
    assert small["rows"] == {"low": 340.0, "likely": 340.0, "high": 340.0}
    assert large["rows"]["likely"] == pytest.approx(340 * small["climb_rate"]["likely"])
    assert shape["cost_usd"]["likely"] == pytest.approx(small["cost_usd"]["likely"] + large["cost_usd"]["likely"])
    assert shape["rows"]["reused"] == 60
    assert "large: a probe of " in shape["basis"]
    report = night(shell, server)
    assert shape["cost_usd"]["low"] < report["cost"]["total_usd"] < shape["cost_usd"]["high"]
    assert "no row to ask" in plan()
    assert main(["check", "label"]) == 0
    assert "stays invalid, is refused, or clean is below 1" in capfd.readouterr().out


def test_a_ladder_is_a_candidate(ladder: Shell, serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    import orjson

    shell, server = ladder, serve(scenario())
    rows(shell, 200)
    command = ("compare", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--quiet", "--grader", "right")
    assert main([*command, "--models", "small,small>large,large", "--sample", "150", "--json"]) == 0
    found = {one["name"]: one for one in orjson.loads(capfd.readouterr().out)["candidates"]}
    sums = server.account.by_model
    assert sums["large"].requests == 150  # the ladder's are among those of the model alone
    assert found["small"]["mean"] < found["small>large"]["mean"]
    assert found["large"]["price"] == pytest.approx(float(sums["large"].dollars(20, 20)) * 1000 / 150)  # type: ignore[arg-type]
    climbed = [s for s in server.account.requests if s.model == "large"][: int(found["small>large"]["calls"])]
    paid = sum((s.usage.input + s.usage.output) * 20 for s in climbed if s.usage) / 1e6
    assert found["small>large"]["cost_usd"] == pytest.approx(paid)
    assert found["small"]["price"] < found["small>large"]["price"] < found["large"]["price"]
    assert main([*command, "--models", "small>large", "--min-quality", "0.8", "--write"]) == 2
    assert "one model, not a ladder" in capfd.readouterr().err


@pytest.mark.slow
def test_killed_on_the_way_up_a_night_ends_as_an_unbroken_one(ladder: Shell, serve: Serve) -> None:
    shell = ladder
    slow = Latency(median_ms=40, sigma=0.3)
    rows(shell, 300)
    whole = serve(scenario(latency=slow))
    night(shell, whole, "--ledger", "whole.duckdb")
    unbroken = (shell.folder / "results/label/results.jsonl").read_bytes()
    server = serve(scenario(latency=slow))
    for at in (60, 200, 330, 420, 470):
        process = shell.start("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--quiet")
        while server.account.total.requests < at and process.poll() is None:
            time.sleep(0.005)
        process.kill()
        process.communicate()
    report = night(shell, server)
    assert (shell.folder / "results/label/results.jsonl").read_bytes() == unbroken
    with duckdb.connect(str(shell.folder / ".llmbatch/label.duckdb"), read_only=True) as con:
        stored = con.execute("select count(*), count(distinct (key, number)) from attempts").fetchone()
    assert stored == (whole.account.total.requests, whole.account.total.requests)  # what is stored is not asked again
    assert report["rows"]["pending"] == 0
    assert night(shell, server)["attempts"]["sent"] == 0


@pytest.mark.slow
def test_gc_keeps_what_a_climb_rests_on(ladder: Shell, serve: Serve) -> None:
    shell, server = ladder, serve(scenario())
    rows(shell, 60)
    night(shell, server)
    night(shell, server)
    assert main(["gc", "label", "--keep-nights", "1"]) == 0
    assert night(shell, server)["attempts"]["sent"] == 0
