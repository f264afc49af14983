import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import orjson
import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from llmbatch.errors import InputError
from llmbatch.sink import Answer, check_target, write_results
from llmbatch.types import Json, Row, Status
from tests.sink.conftest import DONE, FAILED, OWN, PENDING, Night
from tests.test_atomic import may_mount

T = datetime.fromisoformat("2024-03-01T12:30:15.123456")
TEXT = {"type": "string"}
ADDED = 2 + len(OWN)


def with_parquet(night: Night, frame: pl.DataFrame, name: str = "rows.parquet", **options: Any) -> Night:
    frame.write_parquet(night.folder / name, **options)
    night.inputs.append(str(night.folder / name))
    return night


TYPED = pl.DataFrame(
    {
        "ms": pl.Series([T, None], dtype=pl.Datetime("ms")),
        "us": pl.Series([T, None], dtype=pl.Datetime("us")),
        "ns": pl.Series([T, None], dtype=pl.Datetime("ns")),
        "berlin": pl.Series([T, None], dtype=pl.Datetime("us", "Europe/Berlin")),
        "duration": pl.Series([timedelta(seconds=3), None]),
        "time": pl.Series([time(1, 2, 3), None]),
        "date": pl.Series([date(2024, 2, 29), None]),
        "category": pl.Series(["a", None], dtype=pl.Categorical),
        "enum": pl.Series(["a", None], dtype=pl.Enum(["a", "b"])),
        "u8": pl.Series([1, None], dtype=pl.UInt8),
        "u64": pl.Series([2**64 - 1, None], dtype=pl.UInt64),
        "f32": pl.Series([0.1, None], dtype=pl.Float32),
        "nan": pl.Series([float("nan"), float("-inf")]),
        "decimal": pl.Series([Decimal("1.2345"), None], dtype=pl.Decimal(38, 10)),
        "binary": pl.Series([b"\x00\xff", None]),
        "list": pl.Series([[{"a": 1, "b": Decimal("1.50")}], []]),
        "array": pl.Series([[1, 2], None], dtype=pl.Array(pl.Int64, 2)),
        "struct": pl.Series([{"at": T, "none": "x"}, None]),
        "null": pl.Series([None, None]),
        "text": pl.Series(["a\0\u2028😀", ""]),
        "TEXT": pl.Series(["differs", "in case"]),
        "": pl.Series([1, 2]),
        "^t.*$": pl.Series([True, None]),
    }
)


def test_parquet_input_keeps_every_value_and_type(night: Night) -> None:
    written = with_parquet(night, TYPED).write("parquet")
    found = pl.read_parquet(written.results, glob=False)
    own = found.drop(*OWN, "summary", "tags")
    assert own.schema == TYPED.schema
    assert own.equals(TYPED)
    assert found.columns == [*TYPED.columns, "summary", "tags", *OWN]
    assert found["tags"].to_list() == [["a", "ü"]] * 2


def test_added_columns_are_typed(night: Night) -> None:
    night.schema = {
        "$defs": {
            "Mood": {"enum": ["good", "bad"]},
            "Tree": {"type": "object", "properties": {"in": {"$ref": "#/$defs/Tree"}}},
            "Entity": {"type": "object", "properties": {"name": TEXT, "any": {}, "no": {"type": "integer"}}},
        },
        "type": "object",
        "properties": {
            "text": {"type": ["string", "null"]},
            "count": {"type": "integer"},
            "score": {"anyOf": [{"type": "number"}, {"type": "null"}]},
            "flag": {"type": "boolean"},
            "mood": {"$ref": "#/$defs/Mood"},
            "entities": {"type": "array", "items": {"$ref": "#/$defs/Entity"}},
            "either": {"type": ["string", "integer"]},
            "free": {"type": "object"},
            "tree": {"$ref": "#/$defs/Tree"},
            "pair": {"type": "array", "prefixItems": [{"type": "integer"}], "items": False},
            "fixed": {"const": 3},
        },
    }  # fmt: skip
    output = {
        "text": "2024-01-01", "count": 3.0, "score": 1, "flag": True, "mood": "good",
        "entities": [{"name": "ü", "any": {"b": 1}, "no": 1.0, "more": 1}, {"name": "b"}],
        "either": "1", "free": {"z": [1]}, "tree": {"in": {"in": None}}, "pair": [1], "fixed": 3, "unlisted": 1,
    }  # fmt: skip
    answers = [Answer(Status.DONE, output=output), PENDING, Answer(Status.DONE, output={"count": 10.0**30})]
    written = night.jsonl([{}, {}, {}]).write("parquet", lambda row: answers[row.row_no])
    found = pl.read_parquet(written.results)
    assert dict(list(found.schema.items())[: -len(OWN)]) == {
        "text": pl.String, "count": pl.Int64, "score": pl.Float64, "flag": pl.Boolean, "mood": pl.String,
        "entities": pl.List(pl.Struct({"name": pl.String, "any": pl.String, "no": pl.Int64})),
        "either": pl.String, "free": pl.String, "tree": pl.Struct({"in": pl.String}), "pair": pl.String,
        "fixed": pl.Int64,
    }  # fmt: skip
    assert found.row(0)[: -len(OWN)] == (
        "2024-01-01", 3, 1.0, True, "good",
        [{"name": "ü", "any": '{"b":1}', "no": 1}, {"name": "b", "any": None, "no": None}],
        '"1"', '{"z":[1]}', {"in": '{"in":null}'}, "[1]", 3,
    )  # fmt: skip
    assert set(found.row(1)) == {None, "pending", "v1"}
    assert found["count"].to_list() == [3, None, None]
    assert [str(found.schema[name]) for name in OWN] == ["String"] * 5 + ["Float64"]


def test_other_readers_agree(night: Night) -> None:
    night.jsonl([{"id": 1, "when": "2024-01-01", "tags_in": ["x"], "meta": {"a": 1.5}}, {"id": 2}])
    path = night.write("parquet").results
    con = duckdb.connect()
    types = {name: kind for name, kind, *_ in con.execute("describe from read_parquet(?)", [str(path)]).fetchall()}
    assert [types[name] for name in ("id", "when", "tags_in", "meta", "summary", "tags", "llmbatch_cost_usd")] == [
        "BIGINT", "VARCHAR", "VARCHAR[]", "STRUCT(a DOUBLE)", "VARCHAR", "VARCHAR[]", "DOUBLE",
    ]  # fmt: skip
    rows = con.execute('select id, "when", meta, tags, llmbatch_cost_usd from read_parquet(?)', [str(path)]).fetchall()
    assert rows == [
        (1, "2024-01-01", {"a": 1.5}, ["a", "ü"], 0.000123456789),
        (2, None, None, ["a", "ü"], 0.000123456789),
    ]


def test_json_lines_input_is_typed_as_surveyed(night: Night) -> None:
    deep: Any = 1
    for _ in range(100):
        deep = {"a": deep}
    night.jsonl({"same": n, "Same": "x"} for n in range(500)).jsonl(
        [
            {
                "late": [{"a": 1}, {"b": [None, "x"]}], "num": 1, "mix": 1, "huge": 2**64 - 1, "both": 2**63,
                "none": None, "empty": {}, "nul": "\0", "deep": deep, "lists": [],
            },
            {"num": 0.5, "mix": "1", "both": -1},
        ],
        "b.jsonl",
    )  # fmt: skip
    found = pl.read_parquet(night.write("parquet").results)
    assert dict(list(found.schema.items())[:-ADDED]) == {
        "same": pl.Int64, "Same": pl.String, "late": pl.List(pl.Struct({"a": pl.Int64, "b": pl.List(pl.String)})),
        "num": pl.Float64, "mix": pl.String, "huge": pl.UInt64, "both": pl.String, "none": pl.String,
        "empty": pl.String, "nul": pl.String, "deep": found.schema["deep"], "lists": pl.List(pl.String),
    }  # fmt: skip
    assert found["same"].to_list() == [*range(500), None, None]
    first, second = found.row(500, named=True), found.row(501, named=True)
    assert first["late"] == [{"a": 1, "b": None}, {"a": None, "b": [None, "x"]}]
    assert (first["num"], first["mix"], first["huge"], first["both"]) == (1.0, "1", 2**64 - 1, str(2**63))
    assert (first["empty"], first["nul"], first["none"], first["lists"]) == ("{}", "\0", None, [])
    assert (second["num"], second["mix"], second["both"], second["Same"]) == (0.5, '"1"', "-1", None)
    assert deep == as_json(first["deep"])


def as_json(value: Any) -> Json:
    """Undo what the deepest levels became: JSON text in a string."""
    if isinstance(value, dict):
        return {key: as_json(each) for key, each in value.items()}
    return orjson.loads(value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(-1e15, 1e15) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(rows=[{"a": {"": [0, 0.5]}}])
@example(rows=[{"a": {"b": 0}}, {"a": {"b": 0.5}}])
@given(rows=st.lists(st.dictionaries(st.sampled_from(["a", "A", "b.c", ""]), json_values, max_size=4), max_size=6))
def test_no_value_of_json_lines_is_lost(tmp_path: Path, rows: list[dict[str, Json]]) -> None:
    path = Night(tmp_path).jsonl(rows).write("parquet").results
    found = pl.read_parquet(path)
    assert found.height == len(rows)
    for row, line in zip(rows, found.iter_rows(named=True), strict=True):
        for name, value in row.items():
            assert same(value, line[name]), (value, line[name])


def same(value: Json, stored: Any) -> bool:
    """Whether a stored value stands for a JSON value: absent fields are null, and mixtures are JSON text."""
    if isinstance(stored, str) and (not isinstance(value, str) or value != stored):
        return bool(orjson.loads(stored) == value)
    if isinstance(value, dict) and isinstance(stored, Mapping):
        return all(same(value.get(key), each) for key, each in stored.items()) and value.keys() <= stored.keys()
    if isinstance(value, list) and isinstance(stored, list):
        return len(value) == len(stored) and all(map(same, value, stored))
    return bool(value == stored)


def test_rows_keep_their_order_over_files_row_groups_and_frames(night: Night) -> None:
    frame = pl.DataFrame({"n": range(30_000)}).with_columns(pl.lit("x" * 500).alias("text"))
    with_parquet(night, frame.head(10_001), "a.parquet", row_group_size=777)
    with_parquet(night, frame.slice(10_001), "b.parquet")
    answer = lambda row: Answer(Status.DONE, output={"summary": str(row.columns["n"]), "tags": []})  # noqa: E731
    found = pl.read_parquet(night.write("parquet", answer).results)
    assert found["n"].to_list() == list(range(30_000))
    assert found["summary"].to_list() == [str(n) for n in range(30_000)]


@pytest.mark.parametrize("limit", [0, 1, 100, 101, 4_999])
def test_results_end_where_the_rows_end(night: Night, limit: int) -> None:
    with_parquet(night, pl.DataFrame({"n": range(5_000)}))
    written = night.write("parquet", limit=limit)
    assert pl.read_parquet(written.results)["n"].to_list() == list(range(limit))
    assert written.rows == limit


def test_files_with_other_columns_are_brought_together(night: Night) -> None:
    with_parquet(night, pl.DataFrame({"n": pl.Series([1], dtype=pl.Int32), "only_a": [date(2024, 1, 1)]}), "a.parquet")
    with_parquet(night, pl.DataFrame({"only_b": ["x"], "n": [2**40]}), "b.parquet")
    found = pl.read_parquet(night.write("parquet").results)
    assert found.select("n", "only_a", "only_b").rows() == [(1, date(2024, 1, 1), None), (2**40, None, "x")]


def test_files_that_do_not_fit_are_refused_before_the_run(night: Night) -> None:
    with_parquet(night, pl.DataFrame({"n": [1]}), "a.parquet")
    with_parquet(night, pl.DataFrame({"n": [[date(2024, 1, 1)]]}), "b.parquet")
    with pytest.raises(InputError, match="types that do not fit") as caught:
        check_target(night.target("parquet"))
    assert "--format jsonl" in str(caught.value.hint)
    check_target(night.target("jsonl"))


def test_an_empty_input_keeps_its_columns_and_its_clashes(night: Night) -> None:
    empty = with_parquet(night, TYPED.clear()).write("parquet")
    assert pl.read_parquet(empty.results).schema.names() == [*TYPED.columns, "summary", "tags", *OWN]
    night.inputs.clear()
    with_parquet(night, pl.DataFrame({"tags": [1]}).clear())
    with pytest.raises(InputError, match='two columns named "tags"'):
        check_target(night.target("parquet"))


def test_an_empty_json_lines_input(night: Night) -> None:
    assert pl.read_parquet(night.jsonl([]).write("parquet").results).schema.names() == ["summary", "tags", *OWN]


def test_an_input_that_shrank_is_an_error_and_leaves_the_older_results(night: Night) -> None:
    with_parquet(night, pl.DataFrame({"n": range(1000)}))
    older = night.write("parquet").results
    before = older.read_bytes()
    pairs = [(Row(n, {"n": n}, "rows.parquet", n + 1), DONE) for n in range(1001)]
    with pytest.raises(InputError, match="fewer rows"):
        write_results(iter(pairs), night.target("parquet"))
    target = night.target("parquet")
    target.files[0].write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match="cannot be read any more"):
        write_results(iter(pairs), target)
    assert older.read_bytes() == before


def test_the_same_pairs_give_the_same_bytes(night: Night) -> None:
    with_parquet(night, pl.DataFrame({"n": range(20_000), "t": ["x" * (n % 90) for n in range(20_000)]}))
    assert (
        len(
            {
                night.write("parquet", lambda row: FAILED if row.row_no % 7 else DONE).results.read_bytes()
                for _ in range(3)
            }
        )
        == 1
    )


def test_row_groups_stay_small_when_rows_are_large(night: Night) -> None:
    night.jsonl({"t": "ab" * 200_000} for _ in range(120))
    path = night.write("parquet").results
    groups = duckdb.connect().execute("select distinct row_group_id from parquet_metadata(?)", [str(path)]).fetchall()
    assert len(groups) >= 2


CHILD = """
import os, resource, signal, sys
from pathlib import Path
from llmbatch.errors import StorageError
from llmbatch.sink import Answer, Target, write_results
from llmbatch.source import ColumnType
from llmbatch.types import Row, Status

def pairs(rows, kill_at=-1):
    for n in range(rows):
        if n == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        yield Row(n, {"t": os.urandom(300).hex()}, "in", n + 1), Answer(Status.FAILED, "schema: x", last_reply="y")

folder, format = Path(sys.argv[1]), sys.argv[2]
schema = {"type": "object", "properties": {"a": {"type": "string"}}}
target = Target(folder, format, "jsonl", (), {"t": ColumnType("string")}, schema, "", "v1")
"""


def child(code: str, folder: Path, format: str, *under: str) -> subprocess.CompletedProcess[str]:
    command = [*under, sys.executable, "-c", CHILD + textwrap.dedent(code), str(folder), format]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_kill_in_the_middle_leaves_the_older_results(tmp_path: Path, format: str) -> None:
    assert child("write_results(pairs(10), target)", tmp_path, format).returncode == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert before.keys() == {f"results.{format}", "failed.jsonl"}
    assert child("write_results(pairs(20_000, 15_000), target)", tmp_path, format).returncode == -signal.SIGKILL
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert len(list(tmp_path.iterdir())) == 4
    assert child("write_results(pairs(10), target)", tmp_path, format).returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == before.keys()


@pytest.mark.skipif(not may_mount(), reason="needs the right to mount a small disk")
@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_a_full_disk_leaves_the_older_results(tmp_path: Path, format: str) -> None:
    code = """
    import subprocess
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=True)
    write_results(pairs(10), target)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    try:
        write_results(pairs(20_000), target)
    except StorageError as error:
        assert {path: path.read_bytes() for path in folder.iterdir()} == before
        print(error.message, error.hint)
    """
    done = child(code, tmp_path, format, "unshare", "-m")
    assert f"cannot write into {tmp_path}: No space left on device" in done.stdout, done.stderr
    assert "free some space" in done.stdout


def test_a_parquet_file_that_may_not_grow_is_a_storage_error(tmp_path: Path) -> None:
    code = """
    target.folder.mkdir(exist_ok=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    try:
        write_results(((row, Answer(Status.PENDING)) for row, _ in pairs(20_000)), target)
    except StorageError as error:
        print(error.message, list(folder.iterdir()))
    """
    done = child(code, tmp_path, "parquet")
    assert "File too large" in done.stdout, done.stderr
    assert done.stdout.strip().endswith("[]")
