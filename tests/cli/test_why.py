"""Why a row was asked or reused: which part of its request changed, and what of the row."""

from typing import Any

import orjson
import pytest

from llmbatch.cli.why import Asked, changed, read_back
from llmbatch.simulator import Fault, Scenario, Server
from tests.cli.conftest import Serve, Shell, tickets

SHARED = {"model": "m", "system": None, "params": "{}", "schema": "{}", "prompt": "A: {{ a }}\nB: {{ b }}\n"}


def asked(text: str, **version: Any) -> Asked:
    return Asked("run", "k", {**SHARED, **version}, text)


@pytest.mark.parametrize("part", ["model", "system", "params", "schema"])
def test_a_part_that_all_rows_share(part: str) -> None:
    why = changed(asked("A: 1\nB: 2", **{part: "new"}), asked("A: 1\nB: 2"))
    assert why.changed == (part,)
    assert why.difference is None


def test_the_rows_columns_are_read_back_out_of_the_texts() -> None:
    why = changed(asked("A: 1\nB: 2"), asked("A: 1\nB: 3"))
    assert (why.changed, why.columns) == (("row's text",), ("b",))
    assert why.difference is not None
    assert why.difference.splitlines()[-2:] == ["-B: 3", "+B: 2"]


def test_template_and_row_are_told_apart() -> None:
    now, before = "Now A: 1\nB: 2", "A: 1\nB: 2"
    template = asked(now, prompt="Now A: {{ a }}\nB: {{ b }}")
    assert changed(template, asked(before)).changed == ("template",)
    both = asked("Now A: 9\nB: 2", prompt="Now A: {{ a }}\nB: {{ b }}")
    assert changed(both, asked(before)).changed == ("template", "row's text")
    assert changed(both, asked(before)).columns == ("a",)


@pytest.mark.parametrize(
    ("template", "text", "values"),
    [
        ("{{ a }}", "x\ny", {"a": "x\ny"}),
        ("{#- note -#}\n{{ row.a }} and {{ b|trim }}\n", "1 and 2", {"a": "1", "b": "2"}),
        ("{% if a %}{{ a }}{% endif %}", "1", None),
        ("{{ a + b }}", "1", None),
        ("{{ a }} {{ a }}", "1 1", None),
        ("A {{ a }}", "B 1", None),
        ("plain (text) [*]", "plain (text) [*]", {}),
    ],
)
def test_reading_back(template: str, text: str, values: dict[str, str] | None) -> None:
    assert read_back(template, text) == values


def test_a_long_difference_is_cut() -> None:
    why = changed(asked("A: " + "\n".join(map(str, range(500)))), asked("A: 0"))
    assert why.difference is not None
    assert len(why.difference.splitlines()) == 41
    assert why.difference.endswith("more lines]")


def test_show_says_why(shell: Shell, serve: Serve) -> None:
    server = serve(Scenario(fault=(Fault(kind="wrong_shape", match="number 2:"),), server=Server(brain="echo")))

    def why(row: str) -> dict[str, Any]:
        facts: dict[str, Any] = orjson.loads(shell.call("show", "label", row, "--json").stdout)
        return facts

    rows = tickets(4)
    shell.write("in.jsonl", rows)
    shell.run("-i", "in.jsonl", url=server.base_url, expect=3)
    assert why("r1")["why"]["reason"] == "asked: no earlier run had this row"
    rows[1]["text"] = "Another text."
    shell.write("in.jsonl", rows)
    shell.run("-i", "in.jsonl", url=server.base_url, expect=3)
    edited = why("r1")
    assert edited["why"]["changed"] == ["row's text"]
    assert edited["why"]["columns"] == ["text"]
    assert edited["why"]["run_before"] == edited["runs"][1]["run_id"]
    shown = shell.call("show", "label", "r1").stdout
    assert "asked anew: since run " in shown
    assert "+Summarise: Another text." in shown
    assert why("r0")["why"]["reason"].startswith("reused: its request is that of ")
    assert why("r2")["why"]["reason"] == "not asked again: 4 earlier calls, 4 answered, none valid"


CHECK = """
def check(output, row):
    return [] if row["text"].startswith("Ticket number 0") else ["I do not like it"]
"""


@pytest.mark.slow
def test_show_judges_replies_again_by_the_folder_as_it_is(shell: Shell, serve: Serve) -> None:
    server = serve(Scenario(server=Server(brain="echo")))
    shell.write("in.jsonl", tickets(2))
    shell.run("-i", "in.jsonl", url=server.base_url)
    (shell.pipeline / "hooks.py").write_text(CHECK)
    good, bad = shell.call("show", "label", "r0").stdout, shell.call("show", "label", "r1").stdout
    assert "\n  valid\n" in good
    assert "\n  invalid, check: I do not like it\n" in bad
    shell.write("in.jsonl", tickets(2, first=7))
    gone = shell.call("show", "label", "r1").stdout
    assert "\n  valid\n" in gone
    assert "verdicts are by the schema alone" in gone
    assert '"choices"' in shell.call("show", "label", "r1", "--raw").stdout
    (shell.pipeline / "pipeline.toml").write_text("nonsense = 1")
    assert "no verdicts, the pipeline cannot be loaded: " in shell.call("show", "label", "r1").stdout
