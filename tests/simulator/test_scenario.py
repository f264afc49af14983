"""Scenario files: the shipped ones, and mistakes in one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmbatch.errors import UsageError
from llmbatch.simulator import KINDS, Fault, Latency, Scenario, built_in, load_scenario
from tests.simulator.client import serving


def test_three_scenarios_are_shipped() -> None:
    assert built_in() == ["bad-night", "good-night", "rate-limited"]
    for name in built_in():
        assert load_scenario(name) == load_scenario(f"{name}.toml")


@pytest.mark.parametrize("name", built_in())
async def test_a_shipped_scenario_runs(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.latency.median_ms > 0
    async with serving(scenario.model_copy(update={"latency": Latency()})) as client:
        answers = await client.ask_all([f"row {n}" for n in range(60)], timeout_s=1.0)
        # rate-limited grants a second's allowance at once, the others answer nearly all
        least = 9 if name == "rate-limited" else 35
        assert sum(a.status == 200 for a in answers) >= least
        assert client.server.account.total.requests == 60


def test_the_bad_night_has_most_kinds_and_lets_every_row_through_in_the_end() -> None:
    faults = load_scenario("bad-night").fault
    assert len({f.kind for f in faults}) > 25
    assert not {f.kind for f in faults} & {"bad_key", "insufficient_quota", "unknown_model", "context_length"}
    assert sum(f.share for f in faults if not f.windowed) < 0.3


def test_a_file_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad-night.toml").write_text("seed = 77\n")
    monkeypatch.chdir(tmp_path)
    assert load_scenario("bad-night.toml") == Scenario(seed=77)


def test_all_keys_are_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        """
        seed = 5
        [latency]
        median_ms = 10
        [limits]
        requests_per_minute = 60
        [server]
        slots = 3
        brain = "echo"
        [[fault]]
        kind = "hang"
        seconds = 2
        share = 0.5
        match = "x"
        times = 1
        from_s = 1
        to_s = 2
        """
    )
    scenario = load_scenario(path)
    assert (scenario.seed, scenario.latency.median_ms, scenario.server.slots) == (5, 10, 3)
    assert scenario.fault == (Fault(kind="hang", seconds=2, share=0.5, match="x", times=1, from_s=1, to_s=2),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sede = 1", "sede: unknown key; did you mean 'seed'?"),
        ("[latency]\nmedian = 3", "latency.median: unknown key; did you mean 'median_ms'?"),
        (
            "[[fault]]\nkind = 'hang'\n[[fault]]\nkind = 'hang'\nshre = 1",
            "fault[2].shre: unknown key; did you mean 'share'",
        ),
        ("[[fault]]\nkind = 'hangs'", "fault[1].kind: no such kind of fault; did you mean 'hang'?"),
        ("[[fault]]\nshare = 0.1", "fault[1].kind: Field required"),
        ("[[fault]]\nkind = 'hang'\ntier = 'flex'", "'tier' means nothing for kind 'hang', which takes seconds"),
        ("[[fault]]\nkind = 'nan'\nshare = 1.5", "fault[1].share: "),
        ("[[fault]]\nkind = 'nan'\nfrom_s = 5\nto_s = 5", "to_s is not after from_s"),
        ("seed = ", "not valid TOML"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_scenario(path)
    assert f"{path}: " in caught.value.message
    assert words in caught.value.message


def test_no_such_scenario_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_scenario("worse-night")
    assert "bad-night" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="directory"):
        load_scenario(tmp_path)


def test_every_parameter_belongs_to_a_kind() -> None:
    general = {"kind", "share", "from_s", "to_s", "match", "times"}
    assert set(Fault.model_fields) - general == set().union(*KINDS.values())
