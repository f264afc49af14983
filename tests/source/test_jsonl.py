import gzip
import json
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch.errors import InputError
from llmbatch.source import files, open_source
from llmbatch.types import Json, Row

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".jsonl": bytes,
    ".jsonl.gz": gzip.compress,
    ".jsonl.zst": zstd.compress,
}


def read(folder: Path, data: bytes, *, skip_bad: bool = False, name: str = "rows.jsonl") -> list[Row]:
    path = folder / name
    path.write_bytes(data)
    with open_source([str(path)], folder) as source:
        return list(source.rows(skip_bad=skip_bad))


def columns(rows: list[Row]) -> list[dict[str, Json]]:
    return [row.columns for row in rows]


finite = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | finite | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=20,
)


objects = st.lists(st.dictionaries(texts, values, max_size=6), max_size=6)


@settings(max_examples=50)
@given(rows=objects, packing=st.sampled_from(sorted(PACKERS)), ascii_only=st.booleans())
def test_any_objects_come_back_equal(rows: list[dict[str, Json]], packing: str, ascii_only: bool) -> None:
    dump = (lambda row: json.dumps(row).encode()) if ascii_only else orjson.dumps
    data = PACKERS[packing](b"\n".join(map(dump, rows)))
    with tempfile.TemporaryDirectory() as folder:
        found = read(Path(folder), data, name="rows" + packing)
    assert columns(found) == rows
    assert list(map(repr, columns(found))) == list(map(repr, rows))  # 1, 1.0 and True are equal, their texts are not
    assert [row.row_no for row in found] == list(range(len(rows)))


@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=10))
def test_every_line_is_accounted_for(lines: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = b'{"first": 1}\n' + b"\n".join(lines)
        (Path(folder) / "rows.jsonl").write_bytes(data)
        reading = files.Reading()
        source = open_source([f"{folder}/rows.jsonl"], Path(folder))
        rows = list(source.rows(skip_bad=True, reading=reading))
    expected = data.count(b"\n") + (not data.endswith(b"\n"))
    assert len(rows) + reading.blank_lines == expected
    assert all((row.problem is None) or row.columns == {} for row in rows)


def test_lines_end_at_newline_only(tmp_path: Path) -> None:
    odd = {"text": "a\u2028b\u2029c\x85d\x0be\x1cf"}
    data = orjson.dumps(odd) + b"\r\n" + json.dumps(odd, ensure_ascii=False).encode().replace(b"\x0b", b" ")
    assert len(read(tmp_path, data)) == 2


def test_bom_crlf_blank_lines_and_no_last_newline(tmp_path: Path) -> None:
    rows = read(tmp_path, b'\xef\xbb\xbf{"a":1}\r\n\r\n  \n{"a":2}\n\n{"a":3}')
    assert columns(rows) == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert [row.line for row in rows] == [1, 4, 6]
    assert [row.row_no for row in rows] == [0, 1, 2]


def test_row_numbers_and_places_go_over_all_files(tmp_path: Path) -> None:
    for name in "ba":
        (tmp_path / f"{name}.jsonl").write_bytes(b'{"n":1}\n{"n":2}')
    source = open_source([f"{tmp_path}/*.jsonl"], tmp_path)
    rows = list(source.rows())
    assert [row.row_no for row in rows] == [0, 1, 2, 3]
    assert [row.place.rpartition("/")[2] for row in rows] == ["a.jsonl:1", "a.jsonl:2", "b.jsonl:1", "b.jsonl:2"]
    assert list(source.rows()) == rows


BROKEN = {
    "cut": (b'{"a": 1', ":2:8: unexpected end of data"),
    "two objects": (b'{"a":1} {"a":2}', ":2:9: unexpected content after document"),
    "trailing comma": ('{"ä":1,}'.encode(), ":2:7: trailing comma is not allowed"),
    "NaN": (b'{"a": NaN}', ":2:7: unexpected character"),
    "infinity": (b'{"a": -Infinity}', ":2:8: no digit after sign"),
    "overflow": (b'{"a": 1e400}', ":2:7: number is infinity"),
    "invalid UTF-8": ('{"ä": "ö'.encode() + b'\xff"}', ":2:9: invalid UTF-8"),
    "lone surrogate": (rb'{"a": "\ud83d x"}', ":2:8: no low surrogate in string"),
    "raw control character": (b'{"a": "\x01"}', ":2:8: unexpected control character"),
    "list": (b"[1, 2]", ":2:1: a row must be a JSON object"),
    "text": (b'"a"', ":2:1: a row must be a JSON object"),
    "too deep": (b'{"a":' + b"[" * 128 + b"]" * 128 + b"}", ":2: values are nested deeper than 128"),
    "far too deep": (b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", ":2:"),
    "deep beside a huge number": (b'{"a":[1e30,' + b"[" * 500 + b"]" * 500 + b"]}", ":2: values are nested deeper"),
    "65-bit integer": (b'{"id": 18446744073709551616}', ':2: an integer in "id" needs more than 64 bits'),
    "negative 65-bit integer": (b'{"a": {"b": [-9223372036854775809]}}', ':2: an integer in "a" needs more'),
    "30 digits": (b'{"id": 123456789012345678901234567890}', ':2: an integer in "id" needs more than 64 bits'),
}


@pytest.mark.parametrize(("line", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_line_is_named_or_becomes_a_problem(tmp_path: Path, line: bytes, message: str) -> None:
    data = b'{"a":0}\n' + line + b'\n{"a":2}'
    with pytest.raises(InputError) as caught:
        read(tmp_path, data)
    assert f"{tmp_path}/rows.jsonl{message}" in caught.value.message
    assert "--skip-bad-rows" in (caught.value.hint or "")

    rows = read(tmp_path, data, skip_bad=True)
    assert columns(rows) == [{"a": 0}, {}, {"a": 2}]
    assert [row.problem is None for row in rows] == [True, False, True]
    assert [row.row_no for row in rows] == [0, 1, 2]


def test_what_stays_as_it_is(tmp_path: Path) -> None:
    deep = b'{"a":' + b"[" * 127 + b"]" * 127 + b"}"
    large = (
        b'{"low": -9223372036854775808, "high": 18446744073709551615, "float": 1e30, "text": "12345678901234567890"}'
    )
    rows = read(tmp_path, deep + b"\n" + large + b'\n{"k": 1, "k": 2}\n{"nul": "\\u0000"}')
    assert rows[1].columns == {
        "low": -(2**63),
        "high": 2**64 - 1,
        "float": 1e30,
        "text": "12345678901234567890",
    }
    assert rows[2].columns == {"k": 2}
    assert rows[3].columns == {"nul": "\0"}


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_a_line_over_the_cap_is_one_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for module in ("files", "jsonl"):
        monkeypatch.setattr(f"llmbatch.source.{module}.MAX_LINE", 1024**2)
    pack = PACKERS[name.removeprefix("rows")]
    for long in (b'{"a":"' + b"x" * 3 * 1024**2 + b'"}', b'{"a":1}' + b" " * 1024**2, b'{"a":1.5}' + b" " * 1024**2):
        data = pack(long + b'\n{"a":1}\n')
        rows = read(tmp_path, data, skip_bad=True, name=name)
        assert [row.problem for row in rows] == ["the line is longer than 1 MiB", None]
        with pytest.raises(InputError, match=r":1: the line is longer than 1 MiB"):
            read(tmp_path, data, name=name)


def test_memory_follows_the_longest_line_not_the_file(tmp_path: Path) -> None:
    def peak(lines: int) -> int:
        path = tmp_path / "rows.jsonl"
        path.write_bytes((b'{"a":"' + b"x" * 2_000_000 + b'"}\n') * lines)
        source = open_source([str(path)], tmp_path)
        tracemalloc.start()
        try:
            assert sum(len(row.columns["a"]) for row in source.rows()) == 2_000_000 * lines
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(40) < 1.1 * peak(4)
