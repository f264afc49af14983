"""What a ladder costs and how good it is, beside the simulator's account, and whether its verdict is right.

For small models of rising error and invalid rates at two prices: a night by the ladder, and a night by the large model
alone over the same rows. Checked are rows, dollars and right answers by model against the account, and that the ladder
"pays" where it was cheaper, and "no longer pays" where it was dearer. The grader that sends rows up sees four of five
mistakes.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
import time
from contextlib import redirect_stdout
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson

from llmbatch.cli.app import main as llmbatch
from llmbatch.simulator import Model, Scenario, Server
from llmbatch.simulator.account import Account
from tests.cli.conftest import Shell, serving

LARGE = Decimal(10)
SEES = "def grade(output, row): return not (output['summary'].startswith('not ') and int(row['id'][1:]) % 5)\n"
GRADERS = """
[quality.graders.right]
kind = "exact"
field = "summary"
gold = "gold"

[quality.graders.sees]
kind = "python"
climb_below = 1.0
"""


def night(shell: Shell, url: str, *args: str) -> dict[str, Any]:
    """One run in this process; its report.json."""
    with redirect_stdout(io.StringIO()):
        llmbatch(
            [
                "run",
                "label",
                "-i",
                "in.jsonl",
                "--base-url",
                url,
                "--quiet",
                "--set",
                "limits.max_failed=100%",
                "--set",
                "limits.timeout_s=60",
                *args,
            ]
        )
    report: dict[str, Any] = orjson.loads((shell.folder / "results/label/report.json").read_bytes())
    return report


def agrees(report: dict[str, Any], account: Account, prices: dict[str, Decimal]) -> bool:
    """Whether rows, dollars and right answers by model are those of the account."""
    small, large = report["ladder"]["rungs"]
    climbed = {s.user_hash for s in account.requests if s.model == "large"}
    wrong = {s.user_hash for s in account.requests if s.model == "small" and s.played == "wrong"} - climbed
    right = {"small": 1 - len(wrong) / small["served"], "large": 1 - account.by_model["large"].wrong / large["served"]}
    return all(
        (
            (small["climbed"], small["served"]) == (len(climbed), report["rows"]["total"] - len(climbed)),
            (large["rows"], large["served"]) == (len(climbed), len(climbed)),
            all(
                rung["cost_usd"] == float(account.by_model[rung["model"]].dollars(*2 * [prices[rung["model"]]]))
                and abs(rung["scores"]["right"]["mean"] - right[rung["model"]]) < 1e-9
                for rung in (small, large)
            ),
        )
    )


def trial(rows: int, error: float, invalid: float, price: Decimal, seed: int) -> bool:
    """One world: a line of figures; whether all of them hold."""
    models = {"small": Model(error_rate=error, invalid_rate=invalid), "large": Model(error_rate=0.02)}
    prices = {"small": price, "large": LARGE}
    scenario = Scenario(seed=seed, server=Server(brain="echo"), model=models)
    with serving(scenario) as server, tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        shell = Shell(Path(folder))
        toml, tables = shell.pipeline / "pipeline.toml", GRADERS
        tables += "".join(f"\n[prices.{name}]\ninput = {usd}\noutput = {usd}\n" for name, usd in prices.items())
        toml.write_text(toml.read_text().replace('model = "m-1"', 'ladder = ["small", "large"]') + tables)
        (shell.pipeline / "hooks.py").write_text(SEES)
        shell.write("in.jsonl", [{"id": f"r{n}", "text": f"Ticket {n}", "gold": "simulated"} for n in range(rows)])
        report = night(shell, server.base_url)
        same = agrees(report, server.account, prices)
        alone = night(shell, server.base_url, "--model", "large", "--ledger", "alone.duckdb")
        os.chdir("/")
    small, pays = report["ladder"]["rungs"][0], report["ladder"]["pays"]
    costs = report["cost"]["per_1000_rows_usd"], alone["cost"]["per_1000_rows_usd"]
    told = {True: "pays", False: "no longer pays", None: "too close to tell"}[pays]
    fine = same and (pays is None or pays == (costs[0] < costs[1]))
    scores = [next(g["mean"] for g in each["quality"]["graders"] if g["name"] == "right") for each in (report, alone)]
    parts = [
        f"{error:>6.0%} {invalid:>8.0%} {price / LARGE:>7.2f}",
        f"{small['climb_rate']:>7.1%} {small['break_even']:>10.1%}",
        f"{costs[0]:>9.4f} {costs[1]:>9.4f}",
        f"{scores[0]:>7.1%} {scores[1]:>7.1%}",
        f"{told:<17}",
        "as the account" if same else "NOT AS THE ACCOUNT",
    ]
    print(" | ".join(parts) + ("" if fine else " FAIL"), flush=True)
    return fine


def main() -> int:
    """Measure, print, and exit 1 when a figure is not the account's or a verdict is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000)
    asked = parser.parse_args()
    began, here = time.process_time(), Path.cwd()
    print(" wrong  invalid  c/c_lg |   climb break-even | $/1,000 ladder, large | right: ladder, large | verdict")
    worlds = [(e, i, p) for p in (Decimal(1), Decimal(4)) for e, i in ((0.02, 0.0), (0.2, 0.1), (0.5, 0.3), (0.8, 0.6))]
    fine = [trial(asked.rows, *world, seed=n) for n, world in enumerate(worlds)]
    os.chdir(here)
    print(f"{time.process_time() - began:.0f} s of CPU")
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(main())
