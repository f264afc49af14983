"""Every kind of fault in one night: good rows are done, bad rows failed with the right class, and the bill adds up::

    python -m tests.campaign.faults --rows 10000 --each 40 --seed 1

Six kinds end a run by themselves (a spent quota, a bad key ...): the same command is typed again until none is left.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from llmbatch.simulator import Account, Fault, Latency, Scenario, Served, Server
from tests.campaign.fault_cases import ALL, Case
from tests.cli.conftest import Shell, serving

KEY = "sk-campaign-5f0c2a9e77"
INPUT, OUTPUT = Decimal("0.25"), Decimal(2)  #: dollars per million tokens
TOML = """\
[request]
model = "m-1"
params = {{ max_completion_tokens = 1000000 }}
[input]
id = "id"
require = ["text"]
[limits]
timeout_s = {timeout_s}
max_attempts = 3
max_failed = "100%"
[prices]
"m-1" = {{ input = 0.25, output = 2.0 }}
"other-model" = {{ input = 0.25, output = 2.0 }}
"""
SCHEMA = {
    "type": "object",
    "properties": {"summary": {"type": "string"}, "topic": {"enum": ["billing", "login"]}},
    "required": ["summary", "topic"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Night:
    """What came of it."""

    rows: int
    runs: int  #: until one ended by itself
    ended: Counter[str]  #: rows by status and class
    requests: int
    retries: int
    tokens: int  #: that the provider billed
    untold: int  #: the part of them that no answer told
    perhaps: int  #: attempts that the provider may have billed, and that brought nothing


def night(
    folder: Path, cases: Sequence[Case], *, rows: int, each: int, apart: int = 0, seed: int = 1, timeout_s: float = 5
) -> Night:
    """Run it, and compare what the server knows with what the program says.

    Args:
        folder: where it may write.
        cases: what is met.
        rows: how many there are.
        each: how many of them meet each fault; one row meets one that ends the run, and a tenth of so many a 429.
        apart: good rows between those that end the run. From 10 on, each of them ends one.
        seed: of the order of the rows.
        timeout_s: of an attempt.
    """
    of_row = _rows(rows, each, cases)
    shell = _prepare(folder, _in_order(of_row, apart, random.Random(seed)), timeout_s)
    scenario = Scenario(
        seed=seed,
        latency=Latency(median_ms=20, sigma=0.5),
        server=Server(brain="echo", cached_share=0.2),
        fault=tuple(Fault(match=_mark(no), **case.fault) for no, case in enumerate(cases)),
    )
    reports: list[dict[str, Any]] = []
    with serving(scenario) as server:
        while not reports or reports[-1]["exit_code"] == 6:
            reports.append(_run(shell, server.base_url))
            assert len(reports) <= 1 + sum(case.stops for case in cases)
        ended = _check_rows(shell, of_row)
        return _check_bill(server.account, reports, of_row, ended)


def _rows(rows: int, each: int, cases: Sequence[Case]) -> dict[str, Case | None]:
    """The texts of the rows, and the case that each belongs to; None for a good one."""
    found: dict[str, Case | None] = {}
    for no, case in enumerate(cases):
        count = 1 if case.stops else max(1, each // 10) if case.kind == "rate_limited" else each  # all rows wait for it
        found |= {f"Ticket {_mark(no)} number {n}: the invoice is wrong.": case for n in range(count)}
    found |= {f"Ticket number {n}: the invoice is wrong.": None for n in range(rows - len(found))}
    assert len(found) == rows, "too few rows for so many cases"
    return found


def _in_order(of_row: dict[str, Case | None], apart: int, rng: random.Random) -> list[str]:
    """Rows that end a run come first, good ones between them; then all others, shuffled."""
    good = [text for text, case in of_row.items() if case is None]
    first: list[str] = []
    for text, case in of_row.items():
        if case is not None and case.stops:
            first += [text, *(good.pop() for _ in range(apart))]
    rest = [text for text in of_row if text not in set(first)]
    rng.shuffle(rest)
    return first + rest


def _prepare(folder: Path, texts: Sequence[str], timeout_s: float) -> Shell:
    shell = Shell(folder)
    shell.env["OPENAI_API_KEY"] = KEY
    (shell.pipeline / "pipeline.toml").write_text(TOML.format(timeout_s=timeout_s))
    (shell.pipeline / "schema.json").write_bytes(orjson.dumps(SCHEMA))
    shell.write("in.jsonl", [{"id": f"r{n}", "text": text} for n, text in enumerate(texts)])
    return shell


def _run(shell: Shell, url: str) -> dict[str, Any]:
    """One run, however long it takes; its report."""
    process = shell.start("run", "label", "-i", "in.jsonl", "--base-url", url, "--quiet")
    out, err = process.communicate()
    assert process.returncode in (0, 6), f"exit {process.returncode}\n{out}\n{err}"
    report: dict[str, Any] = orjson.loads((shell.folder / "results/label/report.json").read_bytes())
    rows = dict(report["rows"])
    assert rows.pop("total") == sum(rows.values())
    assert report["exit_code"] == process.returncode
    return report


def _mark(no: int) -> str:
    return f"<{no}>"


def _check_rows(shell: Shell, of_row: dict[str, Case | None]) -> Counter[str]:
    """Every row ended as its case says."""
    ended: Counter[str] = Counter()
    results = shell.results()
    assert len(results) == len(of_row)
    for row in results:
        case = of_row[row["text"]]
        status, error = row["llmbatch_status"], row["llmbatch_error"]
        got = "done" if status in ("done", "reused") else f"{error}".split(":")[0]
        assert got == (case.ends if case else "done"), (case, row)
        ended[got] += 1
    kept = [path for path in shell.folder.rglob("*") if path.is_file()]
    assert not [path for path in kept if KEY.encode() in path.read_bytes()], "the key is on the disk"
    return ended


def _check_bill(
    account: Account, reports: list[dict[str, Any]], of_row: dict[str, Case | None], ended: Counter[str]
) -> Night:
    """The server's account equals the reports' sums, but for what no answer told."""
    of_user = {sha256(f"Summarise: {text}".encode()).hexdigest(): case for text, case in of_row.items()}

    def met(served: Served) -> Case | None:
        """The case whose fault hit this request."""
        return of_user[served.user_hash or ""] if served.fault else None

    hits = [(served, met(served)) for served in account.requests]
    told = [served.usage for served, case in hits if served.usage and not (case and case.untold)]
    untold = [served.usage for served, case in hits if served.usage and case and case.untold]
    perhaps = sum(case is not None and case.perhaps for _, case in hits)
    stepped_down = account.by_fault["structured_output_unsupported"].requests

    def sums(table: str, name: str) -> Any:
        return sum(report[table][name] for report in reports)

    tokens = {name: sums("tokens", name) for name in ("input", "cached", "output")}
    assert tokens == {name: sum(getattr(usage, name) for usage in told) for name in tokens}
    dollars = (tokens["input"] * INPUT + tokens["output"] * OUTPUT) / 1_000_000
    assert sum(Decimal(str(report["cost"]["total_usd"])) for report in reports) == dollars
    assert sums("attempts", "possibly_paid_twice") == perhaps
    assert sums("attempts", "sent") == account.total.requests - stepped_down
    assert sums("rows", "done") == ended["done"]
    assert reports[-1]["rows"]["pending"] == 0
    return Night(
        rows=len(of_row),
        runs=len(reports),
        ended=ended,
        requests=account.total.requests,
        retries=account.total.requests - len({served.user_hash for served in account.requests}),
        tokens=account.total.input + account.total.output,
        untold=sum(usage.input + usage.output for usage in untold),
        perhaps=perhaps,
    )


def main() -> int:
    """Run the long campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--each", type=int, default=40, help="rows that meet each fault")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        came = night(Path(folder), ALL, rows=args.rows, each=args.each, apart=12, seed=args.seed)
    print(json.dumps({name: getattr(came, name) for name in came.__slots__}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
