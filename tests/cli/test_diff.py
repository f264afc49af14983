"""llmbatch diff: every row whose output changed, and no other, between prompt versions too."""

from typing import Any

import orjson
import pytest

from llmbatch.ledger import compare, connect, differing, run_named
from tests.cli.conftest import Shell, tickets
from tests.security.parrot import Heard, Said, completion, parrot


def answer(heard: Heard) -> Said:
    """Says the last word of the prompt; of "bad" something off the schema."""
    word = heard.user_message.split()[-1]
    return Said(200, completion("{}" if word == "bad" else orjson.dumps({"summary": word, "n": 1}).decode()))


def runs_of(shell: Shell) -> list[str]:
    """run_ids, oldest first."""
    return [run["run_id"] for run in reversed(orjson.loads(shell.call("runs", "label", "--json").stdout))]


def diff(shell: Shell, a: str, b: str, *more: object) -> dict[str, Any]:
    facts: dict[str, Any] = orjson.loads(shell.call("diff", "label", a, b, "--json", *more).stdout)
    return facts


def test_rows_by_id_with_their_fields(shell: Shell) -> None:
    words = {"a": "one", "b": "two", "c": "bad", "d": "four", "gone": "x", "e": "five"}
    with parrot(answer) as server:
        for changes in ({}, {"b": "TWO", "c": "three", "d": "bad", "gone": None, "new": "y"}):
            now = {name: word for name, word in (words | changes).items() if word}
            shell.write("in.jsonl", [{"id": name, "text": word} for name, word in now.items()])
            shell.run("-i", "in.jsonl", "--max-failed", 5, "--set", "limits.max_attempts=1", url=server.base_url)
    first, second = runs_of(shell)
    facts = diff(shell, first, second)
    assert facts["matched_by"] == "id"
    assert {row["row_id"]: row["kind"] for row in facts["rows"]} == {
        "b": "changed", "c": "now_valid", "d": "now_invalid", "gone": "gone", "new": "added",
    }  # fmt: skip
    changed = next(row for row in facts["rows"] if row["kind"] == "changed")
    assert changed["fields"] == {"summary": {"a": "two", "b": "TWO"}}
    assert facts["counts"] == {"rows_a": 6, "rows_b": 6, "same": 2, "changed": 1, "now_valid": 1, "now_invalid": 1,
                               "other_failure": 0, "added": 1, "gone": 1}  # fmt: skip
    text = shell.call("diff", "label", first, second).stdout
    assert 'row 1, id b: changed\n  summary\n    - "two"\n    + "TWO"\n' in text
    assert "id d: not valid any more (schema)" in text
    assert "6 and 6 rows: 2 the same, 1 changed, 1 valid now" in text
    few = diff(shell, first, second, "--limit", 1)
    assert len(few["rows"]) == 1
    assert few["counts"] == facts["counts"]
    backwards = diff(shell, second, first)["counts"]
    assert (backwards["gone"], backwards["added"], backwards["same"]) == (1, 1, 2)


@pytest.mark.slow
def test_prompt_versions_are_compared_by_row_number_where_there_is_no_id(shell: Shell) -> None:
    toml = shell.pipeline / "pipeline.toml"
    toml.write_text(toml.read_text().replace('id = "id"', ""))
    shell.write("in.jsonl", [{"id": "x", "text": "one"}, {"id": "y", "text": "two"}, {"id": "x", "text": "one"}])
    with parrot(answer) as server:
        shell.run("-i", "in.jsonl", url=server.base_url)
        (shell.pipeline / "prompt.j2").write_text("Short: {{ text }}")
        shell.run("-i", "in.jsonl", url=server.base_url)
        (shell.pipeline / "prompt.j2").write_text("Short: {{ text }} please")
        shell.run("-i", "in.jsonl", url=server.base_url)
    first, second, third = runs_of(shell)
    same = diff(shell, first, second)
    assert (same["matched_by"], same["rows"], same["counts"]["same"]) == ("row_no", [], 3)
    other = diff(shell, second, third)
    assert [row["fields"]["summary"]["b"] for row in other["rows"]] == ["please"] * 3
    assert [row["row_no_b"] for row in other["rows"]] == [0, 1, 2]


def test_pages_are_put_together(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows than a page holds, and none twice."""
    monkeypatch.setattr(compare, "_PAGE", 500)
    shell.write("in.jsonl", tickets(1_203))
    shell.run("-i", "in.jsonl", "--provider", "offline")
    shell.write("in.jsonl", [row | {"text": f"{row['text']} again"} for row in tickets(1_203)])
    shell.run("-i", "in.jsonl", "--provider", "offline")
    first, second = runs_of(shell)
    con = connect(shell.folder / ".llmbatch/label.duckdb")
    pairs = list(differing(con, run_named(con, first), run_named(con, second)))
    con.close()
    assert [pair.b.row_no for pair in pairs if pair.b] == list(range(1_203))
    assert all(pair.a and pair.b and pair.a.raw and pair.a.row_no == pair.b.row_no for pair in pairs)


def test_a_name_that_is_not_one_run_is_a_mistake(shell: Shell) -> None:
    shell.write("in.jsonl", tickets(1))
    for _ in range(2):
        shell.run("-i", "in.jsonl", "--provider", "offline")
    assert "2 runs of this ledger begin with '2'" in shell.call("diff", "label", "2", "2", expect=2).stderr
    assert "no run of this ledger begin" in shell.call("diff", "label", "x", "2", expect=2).stderr


def test_nothing_that_a_terminal_obeys_is_shown(shell: Shell) -> None:
    nasty = "\x1b[2J\u202e"

    def say(heard: Heard) -> Said:
        return Said(200, completion(orjson.dumps({"summary": f"{len(said)} {nasty}", nasty: len(said)}).decode()))

    said: list[int] = []
    with parrot(say) as server:
        for text in "ab":
            shell.write("in.jsonl", [{"id": nasty, "text": text}])
            shell.run("-i", "in.jsonl", url=server.base_url)
            said.append(1)
    for more in ([], ["--json"]):
        shown = shell.call("diff", "label", *runs_of(shell), *more).stdout
        assert "\\u202e" in shown
        assert not {"\x1b", "\u202e"} & set(shown)
