import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.errors import InputError
from llmbatch.settings import InputSettings
from llmbatch.source import ColumnType, Reading, Source, Survey, check_row, ids, open_source, row_id, survey
from llmbatch.source.columns import MAX_FIELDS, Fields
from llmbatch.types import Json, Row

ID = InputSettings(id="id")
ANY = InputSettings()


def source_of(folder: Path, *rows: dict[str, Json] | bytes) -> Source:
    path = folder / "rows.jsonl"
    path.write_bytes(b"\n".join(row if isinstance(row, bytes) else orjson.dumps(row) for row in rows))
    return open_source([str(path)], folder)


def surveyed(
    folder: Path, *rows: dict[str, Json] | bytes, settings: InputSettings = ANY, skip_bad: bool = False
) -> Survey:
    return survey(source_of(folder, *rows), settings, skip_bad=skip_bad)


def refused(folder: Path, *rows: dict[str, Json] | bytes, settings: InputSettings, skip_bad: bool = False) -> str:
    with pytest.raises(InputError) as caught:
        surveyed(folder, *rows, settings=settings, skip_bad=skip_bad)
    assert caught.value.hint
    return caught.value.message.replace(f"{folder}/", "")


def test_counts_and_order_of_columns(tmp_path: Path) -> None:
    found = surveyed(tmp_path, {"b": 1}, b"", b"  ", *[{"a": "x", "b": 2}] * 200, {"late": True})
    assert (found.total, found.bad, found.blank_lines) == (202, 0, 2)
    assert list(found.columns) == ["b", "a", "late"]


def test_an_empty_input(tmp_path: Path) -> None:
    found = surveyed(tmp_path, settings=InputSettings(id="id", require=("a",)))
    assert (found.total, found.columns) == (0, {})
    assert found.fingerprint == hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize("packed", [False, True])
def test_the_fingerprint_is_the_sha256_of_all_bytes_in_order(tmp_path: Path, packed: bool) -> None:
    data = [b"".join(b'{"n":%d}\n' % n for n in range(start, start + 50_000)) for start in (0, 50_000)]
    stored = [gzip.compress(part) + gzip.compress(b"") for part in data] if packed else data
    for number, part in enumerate(stored):
        (tmp_path / f"{number}.jsonl").write_bytes(part)
    found = survey(open_source([f"{tmp_path}/*"], tmp_path), InputSettings())
    assert found.fingerprint == hashlib.sha256(b"".join(stored)).hexdigest()
    assert found.total == 100_000


def test_the_fingerprint_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pl.DataFrame({"id": ["a", "b"], "n": [1, None]}).write_parquet(path)
    found = survey(open_source([str(path)], tmp_path), ID)
    assert found.fingerprint == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.columns == {"id": ColumnType("string"), "n": ColumnType("int", low=1, high=1)}


def test_ids_that_are_missing_null_empty_or_of_another_type_are_named(tmp_path: Path) -> None:
    bad: list[dict[str, Json]] = [{}, {"id": None}, {"id": ""}, {"id": 1.0}, {"id": True}, {"id": [1]}, {"x": 1}]
    assert refused(tmp_path, {"id": "a"}, *bad, settings=ID) == (
        'id column "id" is missing, null or empty: rows.jsonl:2, rows.jsonl:3, rows.jsonl:4 and 1 more\n'
        'id column "id" is neither a string nor an integer: rows.jsonl:5, rows.jsonl:6, rows.jsonl:7'
    )


def test_ids_that_repeat_as_text_are_named(tmp_path: Path) -> None:
    message = refused(tmp_path, {"id": 1}, {"id": "x"}, {"id": "1"}, {"id": "x"}, settings=ID)
    assert message.splitlines() == [
        'rows.jsonl:3: "id" is the same as in rows.jsonl:1',
        'rows.jsonl:4: "id" is the same as in rows.jsonl:2',
    ]


def test_ids_that_only_look_alike_are_different(tmp_path: Path) -> None:
    alike: list[Json] = ["é", "e\u0301", "A", "a", " a", 2**53, 2**53 + 1, 10**18, "1e18", "01", 1, "null", "1" * 30]
    source = source_of(tmp_path, *({"id": value} for value in alike))
    assert survey(source, ID).total == len(alike)
    assert len({row_id(row, "id") for row in source.rows()}) == len(alike)


def test_ids_with_equal_hashes_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"id": str(n)} for n in range(100)]
    monkeypatch.setattr(ids.IdHashes, "repeated", lambda _: {hash(str(n)) for n in range(50)})
    assert surveyed(tmp_path, *rows, settings=ID).total == 100
    assert "rows.jsonl:101" in refused(tmp_path, *rows, {"id": 7}, settings=ID)


@given(st.lists(st.text(max_size=2), max_size=300))
def test_exactly_the_ids_that_repeat_are_found(texts: list[str]) -> None:
    seen = ids.IdHashes()
    for text in texts:
        seen.add(text)
    assert seen.repeated() == {hash(text) for text in texts if texts.count(text) > 1}


def test_required_columns_may_be_empty_but_not_null_or_absent(tmp_path: Path) -> None:
    settings = InputSettings(require=("a", "b"))
    message = refused(tmp_path, {"a": "", "b": 0}, {"a": "x"}, {"a": None, "b": 1}, settings=settings)
    assert message == (
        'required column "b" is missing or null: rows.jsonl:2\nrequired column "a" is missing or null: rows.jsonl:3'
    )


def test_skipped_rows_are_counted_and_the_second_pass_agrees(tmp_path: Path) -> None:
    settings = InputSettings(id="id", require=("a",))
    usable: list[dict[str, Json]] = [{"id": "1", "a": 1}, {"id": "4", "a": 2}]
    rows: list[dict[str, Json] | bytes] = [
        usable[0],
        b"{",
        {"id": "", "a": 1},
        {"id": "2"},
        {"id": "3", "a": None},
        usable[1],
    ]
    source = source_of(tmp_path, *rows)
    found = survey(source, settings, skip_bad=True)
    again = [check_row(row, settings) for row in source.rows(skip_bad=True)]
    assert (found.total, found.bad) == (6, 4)
    assert [problem is None for problem in again] == [True, False, False, False, False, True]
    assert surveyed(tmp_path, *rows, {"id": 3, "a": 1}, settings=settings, skip_bad=True).bad == 4
    message = refused(tmp_path, *rows, {"id": 4, "a": 1}, settings=settings, skip_bad=True)
    assert message == 'rows.jsonl:7: "id" is the same as in rows.jsonl:6'


def test_a_broken_last_line_is_found_before_anything_else(tmp_path: Path) -> None:
    assert refused(tmp_path, *[{"a": 1}] * 1_000, b'{"a":', settings=ID).startswith("rows.jsonl:1001:6: ")


def test_columns_that_results_would_add_are_refused(tmp_path: Path) -> None:
    source = source_of(tmp_path, {"id": 1, "summary": ""}, {"tags": None})
    with pytest.raises(InputError, match="summary, tags") as caught:
        survey(source, InputSettings(), taken=("summary", "tags", "llmbatch_status"))
    assert "[output] prefix" in (caught.value.hint or "")


def test_too_many_columns_are_refused(tmp_path: Path) -> None:
    rows = [{f"c{n}": 1} for n in range(10_001)]
    assert surveyed(tmp_path, *rows[:-1]).total == 10_000
    message = refused(tmp_path, *rows, settings=InputSettings())
    assert message == "rows.jsonl:10001: more than 10000 different columns so far"


def test_an_input_that_grows_under_the_survey_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_of(tmp_path, {"a": 1}, {"a": 2})
    rows = source.rows

    def growing(*, skip_bad: bool, reading: Reading) -> Iterator[Row]:
        yield from rows(skip_bad=skip_bad, reading=reading)
        with (tmp_path / "rows.jsonl").open("ab") as out:
            out.write(b'\n{"a": 3}')

    monkeypatch.setattr(source, "rows", growing)
    with pytest.raises(InputError, match="changed while it was read"):
        survey(source, InputSettings())


def test_the_survey_knows_the_stamp_that_a_run_compares(tmp_path: Path) -> None:
    source = source_of(tmp_path, {"a": 1})
    assert survey(source, InputSettings()).stamp == source.stamp()


INT = ColumnType("int", low=1, high=1)
TYPES: list[tuple[list[Json], ColumnType]] = [
    ([None, None], ColumnType("null")),
    ([None, True], ColumnType("bool")),
    ([5, None, -3], ColumnType("int", low=-3, high=5)),
    ([2**64 - 1, -(2**63)], ColumnType("int", low=-(2**63), high=2**64 - 1)),
    ([1.5, 1], ColumnType("float")),
    ([1, 1.5], ColumnType("float")),
    ([2**53 + 1, 1.5], ColumnType("mixed")),
    ([True, 1], ColumnType("mixed")),
    (["a", None], ColumnType("string")),
    (["a", 1], ColumnType("mixed")),
    ([[]], ColumnType("list", element=ColumnType("null"))),
    ([[], [1, None], None], ColumnType("list", element=INT)),
    ([[1], ["a"]], ColumnType("list", element=ColumnType("mixed"))),
    ([[[1]], [[1.5]]], ColumnType("list", element=ColumnType("list", element=ColumnType("float")))),
    ([[1], {"a": 1}], ColumnType("mixed")),
    ([{}], ColumnType("object", fields={})),
    ([{"a": 1}, {"b": [1]}], ColumnType("object", fields={"a": INT, "b": ColumnType("list", element=INT)})),
    ([[{"a": None}, {"a": 1}]], ColumnType("list", element=ColumnType("object", fields={"a": INT}))),
    ([{str(n): 1} for n in range(MAX_FIELDS + 1)], ColumnType("object", fields=None)),
]


@pytest.mark.parametrize(("values", "expected"), TYPES)
def test_types_are_merged_over_all_rows(values: list[Json], expected: ColumnType) -> None:
    for order in (values, values[::-1], values * 2):
        fields = Fields(10)
        for value in order:
            fields.add({"c": value})
        assert fields.merged() == {"c": expected}


def test_shapes_that_never_repeat_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmbatch.source.columns._MAX_CELLS", 100)
    fields = Fields(1_000)
    for number in range(2_000):
        fields.add({f"c{number % 500}": number, f"d{number % 499}": "x"})
        assert len(fields._shapes) <= 25
    assert fields.merged()["c7"] == ColumnType("int", low=7, high=1507)
