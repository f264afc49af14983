"""Gold rows first: they pass, they stop the night for cents, they are asked anew each night, and leak nothing."""

from typing import Any

import pytest

from llmbatch.simulator import Clock, Fault, Latency, Scenario, Server
from tests.cli.conftest import Serve, Shell, tickets
from tests.cli.test_batches import FLAGS
from tests.cli.test_quality import GRADER, add, echo

CANARY = '\n[quality]\ngold = "gold.jsonl"\nfloor = 0.8\n' + GRADER


def gold(shell: Shell, count: int, right: int) -> None:
    """A gold file of which so many rows have what the simulator answers."""
    rows: list[dict[str, Any]] = [
        {"id": f"g{n}", "text": f"Gold {n}", "gold": "simulated" if n < right else "SECRET-LABEL"} for n in range(count)
    ]
    shell.write("label/gold.jsonl", rows)


def test_a_night_that_passes_and_the_next(shell: Shell, serve: Serve) -> None:
    add(shell, CANARY + "\n[prices.m-1]\ninput = 1\noutput = 1\n")
    gold(shell, 30, 29)
    seen = shell.folder / "seen"
    (shell.pipeline / "hooks.py").write_text(
        f"def check(output, row):\n    open({str(seen)!r}, 'a').write(str(row))\n    return []\n"
    )
    server = serve(echo())
    shell.write("in.jsonl", tickets(10))
    report = shell.run("-i", "in.jsonl", url=server.base_url)
    assert server.account.total.requests == 40
    assert report["rows"]["done"] == report["rows"]["total"] == 10  # gold rows are no rows of the run
    assert report["attempts"]["sent"] == report["attempts"]["ok"] == 40  # but their calls are on its bill
    canary = report["quality"]["canary"]
    assert (canary["rows"], canary["agreed"], canary["attempts"]) == (30, 29, 30)
    assert 0 < canary["cost_usd"] < report["cost"]["total_usd"]
    assert report["quality"]["profile"]["rows"] == 10
    assert "Gold 29" in seen.read_text()
    assert "SECRET-LABEL" not in seen.read_text()
    assert [row["id"] for row in shell.results()] == [f"r{n}" for n in range(10)]
    rows_usd = sum(row["llmbatch_cost_usd"] for row in shell.results())
    assert rows_usd + canary["cost_usd"] == pytest.approx(report["cost"]["total_usd"])
    told = shell.call("report", "label").stdout
    assert "gold rows: 29 of 30 agree (85.1 to 99.8%), floor 80.0%, 30 calls, $0.00" in told

    again = shell.run("-i", "in.jsonl", url=server.base_url)
    assert again["rows"]["reused"] == 10
    assert server.account.total.requests == 70  # what the model was yesterday says nothing of tonight
    assert again["changes"] == {"reused": 10, "new": 0, "changed": 0, "gone": 0}


def test_below_the_floor_nothing_else_is_sent(shell: Shell, serve: Serve) -> None:
    add(shell, CANARY)
    gold(shell, 30, 10)
    server = serve(echo())
    shell.write("in.jsonl", tickets(50))
    report = shell.run("-i", "in.jsonl", url=server.base_url, expect=7)
    assert server.account.total.requests == 30
    assert report["status"] == "below_floor"
    assert report["rows"]["pending"] == 50
    assert {row["llmbatch_status"] for row in shell.results()} == {"pending"}
    told = shell.call("report", "label").stdout
    assert told.startswith(
        "Stopped, too few gold rows were answered as they should be: 0 of 50 rows valid, 50 pending."
    )
    assert "BELOW THE FLOOR OF 80.0%" in told
    gold(shell, 30, 30)
    done = shell.run("-i", "in.jsonl", url=server.base_url)
    assert done["rows"]["done"] == 50
    assert server.account.total.requests == 30 + 30 + 50  # the failed canary's answers do not count


def test_a_night_that_is_resumed_does_not_pay_for_its_gold_rows_twice(shell: Shell, serve: Serve) -> None:
    add(shell, CANARY)
    gold(shell, 20, 20)
    server = serve(echo(Fault(kind="insufficient_quota", match="number 5:", times=1)))
    shell.write("in.jsonl", tickets(6))
    broken = shell.run("-i", "in.jsonl", url=server.base_url, expect=6)
    assert broken["quality"]["canary"]["attempts"] == 20
    before = server.account.total.requests
    whole = shell.run("-i", "in.jsonl", url=server.base_url)
    assert whole["quality"]["canary"]["attempts"] == 0
    assert whole["quality"]["canary"]["agreed"] == 20
    assert server.account.total.requests - before == whole["rows"]["done"]


def test_too_few_gold_rows_are_said_and_stop_nothing(shell: Shell, serve: Serve) -> None:
    add(shell, CANARY)
    gold(shell, 10, 7)
    server = serve(echo())
    shell.write("in.jsonl", tickets(2))
    report = shell.run("-i", "in.jsonl", url=server.base_url)
    assert "7 of 10 gold rows agree: too few to tell" in report["notes"][0]


@pytest.mark.parametrize(
    ("toml", "rows", "words"),
    [
        (CANARY, [], "has 0 rows"),
        (CANARY, [{"id": "g", "text": "x"}], "no gold: gold are missing or null"),
        (CANARY, [{"id": "g", "gold": "x"}], 'required column "text" is missing or null'),
        (CANARY.replace("floor = 0.8\n", ""), [{"id": "g"}], "go together"),
        ('[quality]\ngold = "gold.jsonl"\nfloor = 0.8\n', [{"id": "g"}], "need a grader with a gold column"),
    ],
)
def test_mistakes(shell: Shell, toml: str, rows: list[dict[str, Any]], words: str) -> None:
    add(shell, toml)
    shell.write("label/gold.jsonl", rows)
    shell.write("in.jsonl", tickets(2))
    done = shell.call("run", "label", "-i", "in.jsonl", "--provider", "offline", expect=2)
    assert words in done.stderr


def test_with_batches_gold_rows_are_asked_live_first(shell: Shell, serve: Serve) -> None:
    """A bad night hands in no batch; a good one pays for its gold rows once, however often it is looked at."""
    add(shell, CANARY)
    gold(shell, 30, 10)
    batches = Scenario(server=Server(brain="echo"), latency=Latency(median_ms=0), clock=Clock(speed=1_000))
    server = serve(batches)
    flags = ("-i", "in.jsonl", *FLAGS)
    shell.write("in.jsonl", tickets(20))
    low = shell.run(*flags, url=server.base_url, expect=7)
    assert low["status"] == "below_floor"
    assert server.account.total.requests == 30
    assert list(server.account.by_tier) == ["default"]
    gold(shell, 30, 30)
    left = shell.run(*flags, "--detach", url=server.base_url, expect=None)
    fetched = shell.run(*flags, url=server.base_url)
    assert fetched["rows"]["done"] == 20
    assert left["quality"]["canary"]["attempts"] == 30
    assert fetched["quality"]["canary"]["agreed"] == 30
    assert server.account.by_tier["default"].requests == 60  # the failed canary's, and this night's
    assert server.account.by_tier["batch"].requests == 20


def test_a_night_that_reached_no_row_is_not_what_the_next_is_compared_with(shell: Shell, serve: Serve) -> None:
    """Without an id column rows are known by their key, which pending ones do not have."""
    add(shell, CANARY)
    toml = shell.pipeline / "pipeline.toml"
    toml.write_text(toml.read_text().replace('id = "id"\n', ""))
    gold(shell, 30, 30)
    server = serve(echo())
    shell.write("in.jsonl", tickets(10))
    shell.run("-i", "in.jsonl", url=server.base_url)
    gold(shell, 30, 10)
    low = shell.run("-i", "in.jsonl", "--set", 'request.system="x"', url=server.base_url, expect=7)
    assert low["changes"] is None  # not ten rows gone
    gold(shell, 30, 30)
    again = shell.run("-i", "in.jsonl", url=server.base_url)
    assert again["changes"] == {"reused": 10, "new": 0, "changed": None, "gone": 0}
