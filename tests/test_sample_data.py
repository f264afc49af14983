"""The sample data: what its README promises, and that its generator writes exactly these files."""

import os
import re
import subprocess
import sys
from collections import Counter
from datetime import date, datetime
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

FOLDER = Path(__file__).parent.parent / "sample_data"
TAGS = {
    *("account_access", "billing", "refund", "subscription", "bug", "performance", "outage", "data_loss"),
    *("feature_request", "how_to", "integration", "security", "shipping", "feedback", "other"),
}
TEXT = {"tickets": "body", "articles": "text"}
ROWS = {"tickets": 300, "articles": 200}


def jsonl(name: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (FOLDER / f"{name}.jsonl").read_bytes().splitlines()]


@pytest.mark.parametrize("name", TEXT)
def test_rows_are_many_and_varied(name: str) -> None:
    rows = jsonl(name)
    lengths = [len(row[TEXT[name]]) for row in rows]
    assert len(rows) == len({row["id"] for row in rows}) == ROWS[name]
    languages = Counter(row["language"] for row in rows)
    assert len(languages) == 10
    assert 0.5 < languages["en"] / len(rows) < 0.65
    assert min(lengths) <= 20
    assert 4_500 <= max(lengths) <= 5_000
    assert sum(length > 1_000 for length in lengths) >= 15


@pytest.mark.parametrize("name", TEXT)
def test_no_slot_or_choice_is_left_open(name: str) -> None:
    for row in jsonl(name):
        for value in row.values():
            assert value != ""
            assert not re.search(r"<<|\{[a-z]\w*\}|^~", str(value)), row["id"]


def test_three_tickets_came_twice() -> None:
    texts = Counter((row["subject"], row["body"]) for row in jsonl("tickets"))
    assert sorted(texts.values())[-4:] == [1, 2, 2, 2]


def test_no_article_came_twice() -> None:
    rows = jsonl("articles")
    assert len({row["text"] for row in rows}) == len(rows)


def test_labels_come_from_the_closed_lists() -> None:
    rows = jsonl("tickets")
    labelled = [row for row in rows if row["gold_tags"] is not None]
    assert 150 <= len(labelled) <= 153
    counts: Counter[str] = Counter()
    for row in labelled:
        assert 1 <= len(row["gold_tags"]) <= 3
        assert len(set(row["gold_tags"])) == len(row["gold_tags"])
        counts.update(row["gold_tags"])
    assert set(counts) == TAGS
    assert min(counts.values()) >= 5
    assert {row["gold_urgency"] for row in labelled} <= {"low", "normal", "high", None}
    assert all(row["gold_urgency"] is None for row in rows if row["gold_tags"] is None)


def test_the_label_guide_names_every_tag_and_no_other() -> None:
    guide = (FOLDER / "README.md").read_text().split("## Label guide")[1]
    assert set(re.findall(r"^\| `(\w+)` \|", guide, re.MULTILINE)) == TAGS


def test_addresses_belong_to_nobody() -> None:
    text = "".join((FOLDER / f"{name}.jsonl").read_text() for name in TEXT)
    domains = set(re.findall(r"[\w.]+@([\w-]+(?:\.[\w-]+)+)", text))
    assert domains
    assert all(domain.endswith(("example.com", ".example")) for domain in domains)


@pytest.mark.parametrize("name", TEXT)
def test_parquet_has_the_same_rows_with_types(name: str) -> None:
    frame = pl.read_parquet(FOLDER / f"{name}.parquet")
    typed = frame.to_dicts()
    plain = [
        {key: value.isoformat() if isinstance(value, date | datetime) else value for key, value in row.items()}
        for row in typed
    ]
    assert plain == jsonl(name)
    if name == "tickets":
        assert frame.schema["created_at"] == pl.Datetime("ms")
        assert frame.schema["gold_tags"] == pl.List(pl.String)
    else:
        assert frame.schema["published"] == pl.Date


def test_files_are_small() -> None:
    assert (
        sum(path.stat().st_size for path in (*FOLDER.glob("*.*"), *FOLDER.glob("parts/*")) if path.is_file())
        < 1_500_000
    )


def test_generator_writes_the_same_bytes_each_time(tmp_path: Path) -> None:
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        command = [sys.executable, str(FOLDER / "make_samples.py"), str(tmp_path / number)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": number})
    for name in TEXT:
        for suffix in (".jsonl", ".parquet"):
            first = (tmp_path / "1" / name).with_suffix(suffix).read_bytes()
            assert first == (tmp_path / "2" / name).with_suffix(suffix).read_bytes()
        assert (tmp_path / "1" / f"{name}.jsonl").read_bytes() == (FOLDER / f"{name}.jsonl").read_bytes()
        # another version of polars may compress otherwise, so the shipped Parquet is compared by content
        made, shipped = (pl.read_parquet(folder / f"{name}.parquet") for folder in (tmp_path / "1", FOLDER))
        assert made.equals(shipped)
