import gzip
import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from llmbatch.errors import PipelineError
from llmbatch.sink import Answer
from llmbatch.types import Row, Status
from tests.sink.conftest import DONE, FAILED, OWN, PENDING, SCHEMA, Night, lines


def test_a_line_is_the_row_then_the_output_then_how_it_ended(night: Night) -> None:
    written = night.jsonl([{"z": 1, "text": "é"}]).write("jsonl")
    assert written.results.read_text() == (
        '{"z":1,"text":"é","summary":"short","tags":["a","ü"],"llmbatch_status":"done","llmbatch_error":null,'
        f'"llmbatch_key":"{"k" * 64}","llmbatch_model":"gpt-5-mini","llmbatch_prompt_version":"v1",'
        '"llmbatch_cost_usd":0.000123456789}\n'
    )
    assert written.rows == 1
    assert written.bytes == written.results.stat().st_size
    assert written.results == night.folder / "results" / "results.jsonl"


def test_every_row_is_there_in_input_order_however_it_ended(night: Night) -> None:
    answers = [
        DONE,
        FAILED,
        PENDING,
        Answer(Status.SKIPPED, "too_long: 9 characters"),
        Answer(Status.REUSED, output=DONE.output),
    ]
    night.jsonl({"n": n} for n in range(1000)).jsonl(({"n": n} for n in range(1000, 1500)), "b.jsonl")
    found = lines(night.write("jsonl", lambda row: answers[row.row_no % 5]).results)
    assert [line["n"] for line in found] == list(range(1500))
    assert [line["llmbatch_status"] for line in found[:5]] == ["done", "failed", "pending", "skipped", "reused"]
    assert [line["summary"] for line in found[:5]] == ["short", None, None, None, "short"]
    assert found[1]["llmbatch_error"] == FAILED.error
    assert all(list(line)[-8:] == ["summary", "tags", *OWN] for line in found)


def test_input_values_stay_what_they_are(night: Night) -> None:
    rows: list[Any] = [
        {"text": "\u0000\u2028😀\u200f<b>"},
        {"text": None, "late": [{"a": [1.5, None]}]},
        {"date": "2024-01-01", "big": 2**64 - 1, "small": -(2**63), "float": 0.1, "": {}},
    ]
    found = lines(night.jsonl(rows).write("jsonl").results)
    assert [{k: v for k, v in line.items() if k not in ("summary", "tags", *OWN)} for line in found] == rows


def test_a_packed_input_and_a_bad_line(night: Night) -> None:
    night.skip_bad = True
    path = night.folder / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a":1}\n{broken\n{"a":3}\n'))
    night.inputs.append(str(path))
    found = lines(night.write("jsonl", lambda row: Answer(Status.SKIPPED, "bad_row") if row.problem else DONE).results)
    assert [line.get("a") for line in found] == [1, None, 3]
    assert "a" not in found[1]


def test_parquet_input_as_the_source_renders_it(night: Night) -> None:
    path = night.folder / "rows.parquet"
    pl.DataFrame({"day": [date(2024, 1, 31)], "price": [Decimal("12.30")]}).write_parquet(path)
    night.inputs.append(str(path))
    (line,) = lines(night.write("jsonl").results)
    assert (line["day"], line["price"]) == ("2024-01-31", "12.30")


def test_the_prefix_is_put_before_the_outputs_fields_only(night: Night) -> None:
    night.prefix = "out_"
    (line,) = lines(night.jsonl([{"summary": "mine"}]).write("jsonl").results)
    assert list(line) == ["summary", "out_summary", "out_tags", *OWN]


def test_an_output_field_may_not_take_a_name_of_ours(night: Night) -> None:
    night.schema = {"type": "object", "properties": {"llmbatch_status": {"type": "string"}}}
    with pytest.raises(PipelineError, match='"llmbatch_status"'):
        night.jsonl([{}]).write("jsonl")
    night.prefix = "x_"
    assert list(lines(night.write("jsonl").results)[0]) == ["x_llmbatch_status", *OWN]


def test_the_same_pairs_give_the_same_bytes(night: Night) -> None:
    night.jsonl({"n": n, "t": "x" * n} for n in range(300))
    assert (
        len(
            {
                night.write("jsonl", lambda row: FAILED if row.row_no % 7 else DONE).results.read_bytes()
                for _ in range(3)
            }
        )
        == 1
    )


def test_failed_rows_are_written_once_more_with_the_last_reply(night: Night) -> None:
    night.id_column = "id"
    night.jsonl({"id": n, "text": "t"} for n in range(3))
    written = night.write("jsonl", lambda row: FAILED if row.row_no == 1 else DONE)
    assert lines(written.failed) == [
        {
            "row_no": 1, "place": f"{night.inputs[0]}:2", "id": "1", "status": "failed", "failure": "schema",
            "reason": "summary: is missing: twice", "key": "f" * 64, "last_reply": '{"tags": 1}',
            "row": {"id": 1, "text": "t"},
        }
    ]  # fmt: skip
    assert written.bytes == written.results.stat().st_size + written.failed.stat().st_size


def test_no_failed_row_empties_the_file_of_failed_rows(night: Night) -> None:
    night.jsonl([{"a": 1}])
    assert night.write("jsonl", FAILED).failed.stat().st_size > 0
    assert night.write("jsonl", DONE).failed.read_bytes() == b""


def test_an_empty_input_gives_empty_results(night: Night) -> None:
    written = night.jsonl([]).write("jsonl")
    assert (written.rows, written.results.read_bytes(), written.failed.read_bytes()) == (0, b"", b"")


def test_what_orjson_refuses_is_written_all_the_same(night: Night) -> None:
    deep: Any = "x"
    for _ in range(254):
        deep = [deep]
    night.jsonl([{"a": "ü"}])
    answer = Answer(Status.DONE, output={"summary": "\ud83d", "tags": [10**30, deep]})
    line = json.loads(night.write("jsonl", answer).results.read_text())
    assert (line["a"], line["summary"], line["tags"]) == ("ü", "\ud83d", [10**30, deep])


def test_files_are_for_the_owner_only(night: Night) -> None:
    written = night.jsonl([{"a": 1}]).write("jsonl")
    modes = [path.stat().st_mode & 0o777 for path in (written.results, written.failed, written.results.parent)]
    assert modes == [0o600, 0o600, 0o700]


def broken(row: Row) -> Answer:
    if row.row_no == 700:
        raise RuntimeError("in the middle")
    return DONE


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_a_fault_in_the_middle_leaves_both_older_files(night: Night, format: Any) -> None:
    night.jsonl({"a": n} for n in range(1000))
    older = night.write(format, lambda row: FAILED)
    before = older.results.read_bytes(), older.failed.read_bytes()
    with pytest.raises(RuntimeError, match="in the middle"):
        night.write(format, broken)
    assert (older.results.read_bytes(), older.failed.read_bytes()) == before
    assert set(older.results.parent.iterdir()) == {older.results, older.failed}


def test_schema_is_the_order_of_fields(night: Night) -> None:
    assert list(DONE.output or {}) != list(SCHEMA["properties"])
    (line,) = lines(night.jsonl([{}]).write("jsonl").results)
    assert list(line)[:2] == list(SCHEMA["properties"])


def test_results_may_be_written_into_a_path_with_odd_letters(night: Night) -> None:
    night.folder = night.folder / 'it\'s [a] "b" *ü'
    night.folder.mkdir()
    for format in ("jsonl", "parquet"):
        night.inputs.clear()
        assert night.jsonl([{"a": 1}], "r [1].jsonl").write(format).rows == 1
    assert Path(night.folder / "results" / "results.parquet").exists()
