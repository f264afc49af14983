import os
import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import polars as pl
import pytest

from llmbatch.errors import InputError
from llmbatch.source import open_source, parquet
from llmbatch.types import Json


def read(path: Path) -> list[dict[str, Json]]:
    return [row.columns for row in open_source([str(path)], path.parent).rows()]


def written(folder: Path, frame: pl.DataFrame, **how: Any) -> Path:
    path = folder / "rows.parquet"
    frame.write_parquet(path, **how)
    return path


MOMENT = datetime(2026, 1, 31, 13, 5, 0, 250_000)  # noqa: DTZ001 - Parquet has datetimes without a zone
VALUES: dict[str, tuple[pl.DataType | type[pl.DataType], Any, Json]] = {
    "string": (pl.String, "ü\0\u2028", "ü\0\u2028"),
    "boolean": (pl.Boolean, True, True),
    "int8": (pl.Int8, -128, -128),
    "int64": (pl.Int64, -(2**63), -(2**63)),
    "uint64": (pl.UInt64, 2**64 - 1, 2**64 - 1),
    "int128": (pl.Int128, 10**30, "1" + "0" * 30),
    "float": (pl.Float64, 0.1, 0.1),
    "nan": (pl.Float64, float("nan"), None),
    "infinity": (pl.Float32, float("-inf"), None),
    "decimal": (pl.Decimal(38, 2), Decimal("12.30"), "12.30"),
    "date": (pl.Date, date(2026, 1, 31), "2026-01-31"),
    "datetime": (pl.Datetime("us"), MOMENT, "2026-01-31T13:05:00.250000"),
    "datetime ms": (pl.Datetime("ms"), MOMENT, "2026-01-31T13:05:00.250"),
    "utc": (pl.Datetime("us", "UTC"), MOMENT.replace(tzinfo=UTC), "2026-01-31T13:05:00.250000+00:00"),
    "zone": (
        pl.Datetime("us", "Europe/Berlin"),
        MOMENT.replace(tzinfo=ZoneInfo("Europe/Berlin")),
        "2026-01-31T13:05:00.250000+01:00",
    ),
    "time": (pl.Time, time(13, 5), "13:05:00"),
    "duration": (pl.Duration("us"), timedelta(hours=1, minutes=30), "PT1H30M"),
    "categorical": (pl.Categorical(), "red", "red"),
    "enum": (pl.Enum(["red"]), "red", "red"),
    "binary": (pl.Binary, b"\xff\x00", "/wA="),
    "list": (pl.List(pl.String), ["a", None], ["a", None]),
    "array": (pl.Array(pl.Int64, 2), [1, 2], [1, 2]),
    "dates in arrays": (pl.Array(pl.Date, 1), [date(2026, 1, 31)], ["2026-01-31"]),
    "struct": (pl.Struct({"a": pl.Int64, "b": pl.String}), {"a": 1, "b": None}, {"a": 1, "b": None}),
    "deep": (
        pl.List(pl.Struct({"when": pl.List(pl.Date), "n": pl.Struct({"x": pl.Float64})})),
        [{"when": [date(2026, 1, 31)], "n": {"x": float("nan")}}, None],
        [{"when": ["2026-01-31"], "n": {"x": None}}, None],
    ),
    "fields named like patterns": (
        pl.Struct({"^a.*$": pl.Date, "ab": pl.Int64, "*": pl.Date, "": pl.Int64}),
        {"^a.*$": date(2026, 1, 31), "ab": 1, "*": None, "": 2},
        {"^a.*$": "2026-01-31", "ab": 1, "*": None, "": 2},
    ),
    "null": (pl.Null, None, None),
}


@pytest.mark.parametrize(("dtype", "value", "expected"), VALUES.values(), ids=VALUES.keys())
def test_every_type_becomes_what_json_carries(
    tmp_path: Path, dtype: pl.DataType | type[pl.DataType], value: Any, expected: Json
) -> None:
    frame = pl.DataFrame({"^.*$": pl.Series([value, None], dtype=dtype), "*": ["a", "b"]})
    rows = read(written(tmp_path, frame))
    assert rows == [{"^.*$": expected, "*": "a"}, {"^.*$": None, "*": "b"}]
    assert type(rows[0]["^.*$"]) is type(expected)
    orjson.dumps(rows)


def test_nanoseconds_are_kept(tmp_path: Path) -> None:
    frame = pl.DataFrame({"at": pl.Series([1], dtype=pl.Datetime("ns"))})
    assert read(written(tmp_path, frame)) == [{"at": "1970-01-01T00:00:00.000000001"}]


@pytest.mark.parametrize("group", [1, 7, 100_000])
def test_all_rows_come_in_order_whatever_the_row_groups(
    tmp_path: Path, group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_SLICE_BYTES", 2_000)
    count = 200 if group == 1 else 3_000
    path = written(tmp_path, pl.DataFrame({"n": range(count)}), row_group_size=group)
    found = list(open_source([str(path)], tmp_path).rows())
    assert [row.columns["n"] for row in found] == list(range(count))
    assert [(row.row_no, row.line) for row in found] == [(n, n + 1) for n in range(count)]


def test_no_rows(tmp_path: Path) -> None:
    assert read(written(tmp_path, pl.DataFrame({"n": []}, schema={"n": pl.Int64}))) == []


def test_the_path_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "day=2026-01-31" / "[x]*"
    folder.mkdir(parents=True)
    assert read(written(folder, pl.DataFrame({"n": [1]}))) == [{"n": 1}]


def test_rows_are_numbered_over_files_with_different_columns(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1, 2]}).write_parquet(tmp_path / "1")
    pl.DataFrame({"b": ["x"]}).write_parquet(tmp_path / "2")
    found = list(open_source([f"{tmp_path}/*"], tmp_path).rows())
    assert [(row.row_no, row.line) for row in found] == [(0, 1), (1, 2), (2, 1)]
    assert [row.columns for row in found] == [{"a": 1}, {"a": 2}, {"b": "x"}]


def test_parquet_beside_json_lines_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, pl.DataFrame({"n": [1]}))
    (tmp_path / "a.jsonl").write_bytes(b'{"n":1}')
    with pytest.raises(InputError, match=r"rows\.parquet is parquet and .*a\.jsonl is jsonl"):
        open_source([str(path), f"{tmp_path}/a.jsonl"], tmp_path)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, pl.DataFrame({"n": range(5_000), "s": ["text"] * 5_000}), row_group_size=1_000)
    whole = path.read_bytes()
    for size in (4, 5, 11, 12, 100, len(whole) // 2, len(whole) - 8, len(whole) - 4, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError) as caught:
            read(path)
        assert str(path) in caught.value.message
        assert caught.value.hint


def test_a_footer_that_lies_about_its_length_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, pl.DataFrame({"n": range(100)}))
    whole = path.read_bytes()
    for length in (0, 1, 2**31 - 1, 2**32 - 1):
        path.write_bytes(whole[:-8] + length.to_bytes(4, "little") + b"PAR1")
        with pytest.raises(InputError):
            read(path)


DAMAGE = """
import sys
from pathlib import Path
from llmbatch.errors import InputError
from llmbatch.source import open_source
for name in sys.argv[1:]:
    try:
        print(sum(1 for _ in open_source([name], Path()).rows()))
    except InputError:
        print("refused")
"""


def test_a_damaged_page_never_makes_rows_vanish(tmp_path: Path) -> None:
    path = written(
        tmp_path, pl.DataFrame({"n": range(500), "s": [f"text {n}" for n in range(500)]}), row_group_size=100
    )
    whole = path.read_bytes()
    for at in range(10, len(whole) - 1_000, len(whole) // 40):
        (tmp_path / f"{at}.parquet").write_bytes(whole[:at] + bytes(6) + whole[at + 6 :])
    names = sorted(str(each) for each in tmp_path.glob("[0-9]*.parquet"))
    command = [sys.executable, "-c", DAMAGE, *names]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "RUST_BACKTRACE": "0"})
    verdicts = run.stdout.split()
    assert len(verdicts) == len(names)
    assert set(verdicts) <= {"500", "refused"}
    assert "refused" in verdicts


READ = """
import sys
from pathlib import Path
from llmbatch.source import open_source

def held():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))

with open_source([sys.argv[1]], Path(sys.argv[2])) as source:
    rows = iter(source.rows())
    next(rows)
    first = held()
    sum(1 for _ in rows)
print(held() - first)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_row_group_is_not_kept_once_its_rows_are_read(tmp_path: Path) -> None:
    """30 MB that do not pack, in one row group. polars would keep them, on each of its threads, for the next read."""
    file = tmp_path / "one.parquet"
    pl.DataFrame({"text": [os.urandom(1_500).hex() for _ in range(20_000)]}).write_parquet(file, row_group_size=20_000)
    words = [sys.executable, "-c", READ, str(file), str(tmp_path)]
    bare = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    said = subprocess.run(words, capture_output=True, text=True, check=True, env=bare)
    assert int(said.stdout) < 16 * 1024, said.stdout  # kB
