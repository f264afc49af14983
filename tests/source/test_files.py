import gzip
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmbatch.errors import InputError
from llmbatch.source import open_source
from tests.source.test_jsonl import PACKERS

LINES = b'{"a":1}\n{"a":2}\n'


def refused(*names: str | Path, spool: Path = Path("unused")) -> InputError:
    """The error that opening and reading these gives."""
    with pytest.raises(InputError) as caught:
        list(open_source([str(name) for name in names], spool).rows(skip_bad=True))
    assert caught.value.hint
    assert str(names[-1]) in caught.value.message
    return caught.value


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("suffix", ["", ".jsonl", ".txt"])
def test_what_a_file_holds_is_told_by_its_first_bytes(tmp_path: Path, packing: str, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(PACKERS[packing](LINES))
    source = open_source([str(path)], tmp_path)
    assert (source.kind, [row.columns["a"] for row in source.rows()]) == ("jsonl", [1, 2])


def test_several_packed_parts_in_one_file_are_all_read(tmp_path: Path) -> None:
    for packing in (".jsonl.gz", ".jsonl.zst"):
        path = tmp_path / f"rows{packing}"
        path.write_bytes(PACKERS[packing](LINES) + PACKERS[packing](LINES))
        assert sum(1 for _ in open_source([str(path)], tmp_path).rows()) == 4


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").touch()
    assert list(open_source([str(tmp_path / "rows.jsonl")], tmp_path).rows()) == []


def test_a_path_is_a_path_before_it_is_a_pattern(tmp_path: Path) -> None:
    for name in ("rows[1].jsonl", "rows1.jsonl"):
        (tmp_path / name).write_bytes(LINES)
    source = open_source([f"{tmp_path}/rows[1].jsonl"], tmp_path)
    assert [file.path.name for file in source.files] == ["rows[1].jsonl"]


def test_a_glob_leaves_folders_out(tmp_path: Path) -> None:
    (tmp_path / "parts" / "deep").mkdir(parents=True)
    for name in ("parts/2.jsonl", "parts/deep/1.jsonl"):
        (tmp_path / name).write_bytes(LINES)
    source = open_source([f"{tmp_path}/parts/**"], tmp_path)
    assert [file.name for file in source.files] == [f"{tmp_path}/parts/2.jsonl", f"{tmp_path}/parts/deep/1.jsonl"]


def test_missing_files_folders_and_pipes_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.jsonl").message
    assert "no file matches" in refused(tmp_path / "*.jsonl").message
    assert "is a folder" in refused(tmp_path).message
    os.mkfifo(tmp_path / "pipe")
    assert "--input -" in (refused(tmp_path / "pipe").hint or "")
    assert "cannot be read" in refused(tmp_path / ("x" * 300)).message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(LINES)
    path.chmod(0)
    assert "Permission denied" in refused(path).message


WRONG = {
    "UTF-16 with BOM": ('{"a":1}\n'.encode("utf-16"), "UTF-16"),
    "UTF-16 without BOM": ('{"a":1}\n'.encode("utf-16-le"), "UTF-16"),
    "UTF-16 big-endian": ('{"a":1}\n'.encode("utf-16-be"), "UTF-16"),
    "UTF-32": ('{"a":1}\n'.encode("utf-32"), "UTF-16 or UTF-32"),
    "HTML": (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "HTML"),
    "JSON array": (b'\xef\xbb\xbf[{"a":1},\n{"a":2}]', "JSON array"),
}


@pytest.mark.parametrize(("data", "message"), WRONG.values(), ids=WRONG.keys())
@pytest.mark.parametrize("packing", PACKERS)
def test_other_text_is_refused_whole(tmp_path: Path, data: bytes, message: str, packing: str) -> None:
    path = tmp_path / f"rows{packing}"
    path.write_bytes(PACKERS[packing](data))
    assert message in refused(path).message


@pytest.mark.parametrize("packing", [".jsonl.gz", ".jsonl.zst"])
def test_packed_files_that_are_cut_or_changed_are_refused(tmp_path: Path, packing: str) -> None:
    path = tmp_path / f"rows{packing}"
    packed = PACKERS[packing](b"".join(b'{"a":%d}\n' % os.urandom(4)[0] for _ in range(5000)))
    for size in (5, 20, len(packed) // 2, len(packed) - 1):
        path.write_bytes(packed[:size])
        assert "cut short or damaged" in refused(path).message
    half = len(packed) // 2
    path.write_bytes(packed[:half] + bytes(8) + packed[half + 8 :])
    rows: list[object] = []
    with pytest.raises(InputError):
        rows += open_source([str(path)], tmp_path).rows()


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.zst", "rows.parquet"])
@pytest.mark.parametrize("data", [b"", LINES, b"PAR1" + bytes(20), gzip.compress(LINES, mtime=0)])
def test_a_name_that_promises_something_else_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    if name.endswith(".gz") and data.startswith(b"\x1f\x8b"):
        assert sum(1 for _ in open_source([str(path)], tmp_path).rows()) == 2
    elif not data.startswith(b"\x1f\x8b"):
        refused(path)


def test_packed_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet.gz").write_bytes(gzip.compress(b"PAR1" + bytes(50)))
    assert "unpack" in (refused(tmp_path / "rows.parquet.gz").hint or "")


def test_standard_input_is_spooled_for_its_owner_and_deleted(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from llmbatch.source import open_source
folder = Path({str(tmp_path / "new" / "spool")!r})
with open_source(["-"], folder) as source:
    (copy,) = folder.iterdir()
    print(oct(copy.stat().st_mode & 0o777), oct(folder.stat().st_mode & 0o777))
    for _ in range(2):
        print([(row.place, row.columns["a"]) for row in source.rows()])
print(list(folder.iterdir()))
"""
    run = subprocess.run([sys.executable, "-c", script], input=LINES, capture_output=True, check=True, umask=0)
    rows = "[('stdin:1', 1), ('stdin:2', 2)]"
    assert run.stdout.decode().splitlines() == ["0o600 0o700", rows, rows, "[]"]


def test_standard_input_that_is_no_json_lines_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"<html>")))
    with pytest.raises(InputError, match="stdin: is HTML"):
        open_source(["-"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_standard_input_that_does_not_fit_the_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    script = f"""
import resource
from pathlib import Path
from llmbatch.errors import StorageError
from llmbatch.source import open_source
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
try:
    open_source(["-"], Path({str(tmp_path)!r}))
except StorageError as error:
    print(error.message)
"""
    run = subprocess.run([sys.executable, "-c", script], input=LINES, capture_output=True, check=True)
    assert "File too large" in run.stdout.decode()
    assert list(tmp_path.iterdir()) == []


def test_standard_input_that_is_closed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="is closed"):
        open_source(["-"], tmp_path)


def test_standard_input_goes_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="together"):
        open_source(["-", "rows.jsonl"], tmp_path)


def test_the_stamp_changes_when_a_file_grows_is_replaced_or_goes(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(LINES)
    source = open_source([str(path)], tmp_path)
    stamps = {source.stamp(), source.stamp()}
    assert len(stamps) == 1
    with path.open("ab") as out:
        out.write(LINES)
    stamps.add(source.stamp())
    new = tmp_path / "new"
    new.write_bytes(path.read_bytes())
    os.utime(new, ns=(0, path.stat().st_mtime_ns))
    new.replace(path)
    stamps.add(source.stamp())
    assert len(stamps) == 3
    path.unlink()
    with pytest.raises(InputError, match="gone"):
        source.stamp()
