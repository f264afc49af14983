"""llmbatch compare against the simulator, which plays models of known quality and price."""

import os
import tomllib
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from llmbatch.cli import main
from llmbatch.simulator import Model, Scenario, Server, Simulator
from tests.candidates.nights import trial
from tests.candidates.worlds import right
from tests.cli.conftest import Serve, Shell

GRADED = """
[quality.graders.right]
kind = "exact"
field = "summary"
gold = "gold"
"""
PRICES = "".join(
    f"\n[prices.{name}]\ninput = {p}\noutput = {p}\n" for name, p in (("small", 1), ("middle", 5), ("large", 50))
)
MODELS = {"small": Model(error_rate=0.3), "middle": Model(error_rate=0.01), "large": Model()}


def scenario(**models: Model) -> Scenario:
    return Scenario(server=Server(brain="echo"), model={**MODELS, **models})


@pytest.fixture
def labelled(shell: Shell) -> Shell:
    path = shell.pipeline / "pipeline.toml"
    path.write_text(path.read_text() + GRADED + PRICES)
    rows = [{"id": f"r{n}", "text": f"Ticket {n}", "gold": "simulated" if n % 4 else None} for n in range(240)]
    shell.write("in.jsonl", rows)
    return shell


@dataclass(frozen=True)
class Compare:
    """`llmbatch compare label -i in.jsonl ...` in the shell's folder, in this process."""

    capfd: pytest.CaptureFixture[str]

    def __call__(self, server: Simulator, *args: object, expect: int = 0) -> dict[str, Any]:
        told = self.told(server, "--json", *args, expect=expect).out
        found: dict[str, Any] = orjson.loads(told)
        return found

    def told(self, server: Simulator, *args: object, expect: int) -> Any:
        """What it printed."""
        self.capfd.readouterr()
        command = ("compare", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--quiet", *args)
        assert main(list(map(str, command))) == expect
        return self.capfd.readouterr()


@pytest.fixture
def compare(labelled: Shell, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Compare:
    monkeypatch.chdir(labelled.folder)
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "AZURE_")):
            monkeypatch.delenv(name)
    return Compare(capfd)


def test_the_cheapest_good_model_is_named_written_and_its_answers_are_reused(
    labelled: Shell, serve: Serve, compare: Compare
) -> None:
    shell, server = labelled, serve(scenario())
    options = ("--models", "small,middle,large", "--sample", 120, "--min-quality", 0.9)
    found = compare(server, *options, "--write", "--html", "page.html")
    assert found["named"] == "middle"
    by_name = {one["name"]: one for one in found["candidates"]}
    assert [one["name"] for one in found["candidates"]] == ["small", "middle", "large"]
    assert by_name["small"]["mean"] < 0.8 < by_name["middle"]["mean"]
    assert [one["rows"] for one in by_name.values()] == [120, 120, 120]
    sums = server.account.by_model
    for name, price in (("small", 1), ("middle", 5), ("large", 50)):
        assert by_name[name]["cost_usd"] == pytest.approx(float(sums[name].dollars(price, price)))  # type: ignore[arg-type]
        assert by_name[name]["price"] == pytest.approx(by_name[name]["cost_usd"] * 1000 / 120)
    (certificate,) = found["certificates"]
    assert certificate["rows"] == 60
    assert certificate["lower"] >= 0.9

    written = tomllib.loads((shell.pipeline / "pipeline.toml").read_text())
    assert written["request"]["model"] == "middle"
    assert written["certificate"]["fingerprint"] == found["fingerprint"]
    assert written["certificate"]["prompt_version"] == by_name["middle"]["prompt_version"]
    assert "<svg" in (shell.folder / "page.html").read_text()

    report = shell.run("-i", "in.jsonl", url=server.base_url)
    assert (report["rows"]["reused"], report["rows"]["done"]) == (120, 120)
    assert report["prompt_version"] == by_name["middle"]["prompt_version"]
    assert (report["resumed"], report["changes"], report["trend"]) == ([], None, [])  # comparisons are no nights
    again = compare(server, *options)
    assert [one["calls"] for one in again["candidates"]] == [0, 0, 0]
    assert [one["mean"] for one in again["candidates"]] == [one["mean"] for one in found["candidates"]]
    assert report["run_id"] in shell.call("report", "label").stdout
    assert report["run_id"] in shell.call("grade", "label").stdout


def test_prompts_are_candidates_and_failed_rows_are_wrong(labelled: Shell, serve: Serve, compare: Compare) -> None:
    shell, server = labelled, serve(scenario(middle=Model(invalid_rate=1.0)))
    (shell.pipeline / "short.j2").write_text("Sum up: {{ text }}")
    found = compare(server, "--models", "middle,large", "--prompts", "prompt.j2,short.j2", "--sample", 20,
                    "--set", "limits.max_attempts=1")  # fmt: skip
    names = {one["name"] for one in found["candidates"]}
    assert names == {f"{model} {prompt}" for model in ("middle", "large") for prompt in ("prompt.j2", "short.j2")}
    assert found["named"] is None
    for one in found["candidates"]:
        bad = one["model"] == "middle"
        assert (one["failed"], one["invalid_rate"], one["mean"]) == ((20, 1.0, 0.0) if bad else (0, 0.0, 1.0))
    none = compare(server, "--models", "middle", "--sample", 120, "--min-quality", 0.9,
                   "--set", "limits.max_attempts=1", expect=7)  # fmt: skip
    assert none["reason"] == "no candidate is named: on the selecting half none reached 90.0%"
    (shell.pipeline / "gold.j2").write_text("{{ text }} {{ gold }}")
    shown = compare.told(server, "--prompts", "gold.j2", expect=2).err
    assert "shows 'gold'" in shown


def test_a_budget_holds_over_all_candidates(serve: Serve, compare: Compare) -> None:
    server = serve(scenario())
    one = compare(server, "--models", "small", "--sample", 40, "--seed", 1)["candidates"][0]["cost_usd"]
    before = server.account.total.dollars(1, 1)  # type: ignore[arg-type]
    told = compare.told(
        server, "--models", "small,middle", "--sample", 40, "--seed", 2, "--budget", "0.006", expect=4
    ).err
    assert "budget reached" in told
    assert "candidates before" in told
    sums = server.account.by_model
    small, middle = sums["small"].dollars(1, 1) - before, sums["middle"].dollars(5, 5)  # type: ignore[arg-type]
    assert float(small) < one * 1.5
    assert 0.0005 < float(middle) <= 0.006 - float(small)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--models", "small", "--min-quality", "0.97", "--sample", "100"), "certified by 198 rows at least"),
        (("--models", "small,unknown", "--min-quality", "0.5"), "no price is known for 'unknown'"),
        (("--models", "small,small"), "would send the same requests"),
        (("--models", "small,"), "has an empty name"),
        (("--models", "small", "--write"), "--write needs a target"),
        (
            ("--models", "small", "--write", "--max-cost", "1", "--set", "request.system=x"),
            "would not say what was compared",
        ),
        (("--grader", "rigth"), "did you mean 'right'?"),
        (("--prompts", "none.j2"), "none.j2 is missing"),
    ],
)
def test_mistakes_are_told_before_anything_is_sent(
    serve: Serve, compare: Compare, options: tuple[str, ...], words: str
) -> None:
    server = serve(scenario())
    assert words in compare.told(server, *options, expect=2).err
    assert server.account.total.requests == 0


def test_without_a_grader_it_says_what_to_add(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shell.write("in.jsonl", [{"id": "a", "text": "t"}])
    monkeypatch.chdir(shell.folder)
    assert main(["compare", "label", "-i", "in.jsonl", "--models", "a,b"]) == 2
    assert "[quality.graders.right]" in capfd.readouterr().err


def test_whole_comparisons_name_the_right_model() -> None:
    """Three of the trials of `make bench-compare`, in small."""
    world = {"small": right(0.7, 0.1), "middle": right(0.99, 0.5), "large": right(1.0, 5.0)}
    found = [trial(seed, world, 0.9, sample=120) for seed in range(3)]
    assert [one.named for one in found] == ["middle"] * 3
    assert not any(one.wrong for one in found)
