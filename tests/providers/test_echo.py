"""A problem that is shown quotes nothing of its row, however it quotes it."""

from typing import Any

import pytest

from llmbatch.providers.echo import ROW_TEXT, without_row
from llmbatch.types import Request, Row

COLUMNS: dict[str, Any] = {
    "id": "r1",
    "text": "the Frau Ottilie Brandtner, IBAN DE44500105175407324931",
    "more": {"city": ["Quitt", "Ulm"], "zip": 89073},
}
ROW = Row(0, COLUMNS, "in.jsonl", 1)


@pytest.mark.parametrize(
    ("problem", "shown"),
    [
        ("no good: Brandtner", f"no good: {ROW_TEXT}"),
        ("no good: BRANDTNER lives in Quitt", f"no good: {ROW_TEXT} lives in {ROW_TEXT}"),
        ("zip 89073 is wrong", f"{ROW_TEXT} is wrong"),
        ("check raised ValueError: DE44500105175407324931", f"check raised ValueError: {ROW_TEXT}"),
        ("summary: 301 characters, at most 300", "summary: 301 characters, at most 300"),
        ("", ""),
        ("the city and who lives in it", "the [row text] and who lives in it"),
    ],
)
def test_words_of_the_row_are_hidden(problem: str, shown: str) -> None:
    assert without_row(problem, ROW, None) == shown


def test_the_rendered_text_counts_too() -> None:
    request = Request("k", 0, "m", ({"role": "user", "content": "Vorname: Ottilie-Marie"},), {}, {})
    assert "Marie" not in without_row("who is Marie?", Row(0, {}, "f", 1), request)
