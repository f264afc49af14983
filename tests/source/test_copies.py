"""Inputs that are copied first: objects of a real S3 server, https, tables, partitioned folders."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import boto3
import duckdb
import orjson
import polars as pl
import pytest

from llmbatch.errors import InputError, UsageError
from llmbatch.source import open_source
from llmbatch.source.remote import fetch
from tests.counterparts.aws import CREDENTIALS, moto

LINES = b"".join(orjson.dumps({"id": f"r{n}", "text": f"row {n}"}) + b"\n" for n in range(50))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with moto(tmp_path_factory.mktemp("aws")) as url:
        yield url


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[boto3.client]:
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": server}.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    if not client.list_buckets()["Buckets"]:
        client.create_bucket(Bucket="rows", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    yield client
    client.close()


def test_an_object_is_read_like_a_file(bucket: boto3.client, tmp_path: Path) -> None:
    bucket.put_object(Bucket="rows", Key="in/a.jsonl", Body=LINES)
    bucket.put_object(Bucket="rows", Key="in/b.jsonl", Body=LINES)
    (tmp_path / "a.jsonl").write_bytes(LINES)
    with open_source(["s3://rows/in/*.jsonl"], tmp_path / "spool") as source:
        rows = list(source.rows())
        assert len(rows) == 100
        assert rows[51].place == "s3://rows/in/b.jsonl:2"
        assert [path.stat().st_mode & 0o777 for path in (tmp_path / "spool").iterdir()] == [0o600, 0o600]
    assert not list((tmp_path / "spool").iterdir())
    with (
        open_source(["s3://rows/in/a.jsonl"], tmp_path / "spool") as far,
        open_source([str(tmp_path / "a.jsonl")], tmp_path) as near,
    ):
        assert far.fingerprint() == near.fingerprint()


@pytest.mark.parametrize(
    "name", ["s3://rows/nothing.jsonl", "s3://rows/none/*.jsonl", "s3://nowhere/a.jsonl", "s3://nowhere/x/"]
)
def test_an_object_that_is_missing_is_a_mistake(bucket: boto3.client, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"no such object|no object matches|nowhere"):
        open_source([name], tmp_path)
    assert not list(tmp_path.iterdir())


def test_credentials_do_not_stand_in_an_address(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bucket") as caught:
        open_source(["s3://key:secret@rows/a.jsonl"], tmp_path)
    assert "secret" not in str(caught.value)


def test_partitioned_objects_are_one_table(bucket: boto3.client, tmp_path: Path) -> None:
    _partitioned(tmp_path / "t")
    for path in (tmp_path / "t").rglob("*.parquet"):
        bucket.put_object(Bucket="rows", Key=f"t/{path.relative_to(tmp_path / 't')}", Body=path.read_bytes())
    with open_source(["s3://rows/t/"], tmp_path / "spool") as source:
        far = [row.columns for row in source.rows()]
    with open_source([str(tmp_path / "t")], tmp_path / "spool") as source:
        assert [row.columns for row in source.rows()] == far
    assert {(row["lang"], row["day"]) for row in far} == {("de", "2026-01-31"), ("de", None), ("e n", "2026-02-01")}


def test_a_table_is_read_in_its_order_with_its_types(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "crm.duckdb")) as con:
        con.execute("create schema s")
        con.execute(
            'create table s."odd "" name" as select range as id, \'t\' || range as text, '
            "date '2026-01-31' as day, 1.50::decimal(6, 2) as price from range(3000)"
        )
    name = f'{tmp_path}/crm.duckdb::s.odd " name'
    fingerprints = set()
    for _ in range(2):
        with open_source([name], tmp_path / "spool") as source:
            rows = list(source.rows())
            fingerprints.add(source.fingerprint())
    assert [row.columns["id"] for row in rows] == list(range(3000))
    assert rows[7].columns == {"id": 7, "text": "t7", "day": "2026-01-31", "price": "1.50"}
    assert len(fingerprints) == 1, "so a broken run is gone on with"
    assert not list((tmp_path / "spool").iterdir())


def test_a_view_reads_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\nhidden\n")
    with duckdb.connect(str(tmp_path / "crm.duckdb")) as con:
        con.execute(f"create view v as select * from read_csv('{tmp_path}/secret.csv')")
    with pytest.raises(InputError, match="cannot be read"):
        open_source([f"{tmp_path}/crm.duckdb::v"], tmp_path / "spool")


def test_what_a_killed_copy_left_is_removed(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "crm.duckdb")) as con:
        con.execute("create table t as select 1 as id")
    spill = tmp_path / "spool/input-999999999-abc.parquet.spill"
    spill.mkdir(parents=True)
    (spill / "duckdb_temp_storage-0.tmp").write_bytes(b"rows")
    (tmp_path / "spool/input-999999999-abc.parquet").write_bytes(b"PAR1")
    alive = tmp_path / f"spool/input-{os.getpid()}-abc.parquet"
    alive.write_bytes(b"PAR1")
    with open_source([f"{tmp_path}/crm.duckdb::t"], tmp_path / "spool") as source:
        assert [row.columns["id"] for row in source.rows()] == [1]
    assert list((tmp_path / "spool").iterdir()) == [alive]


def test_a_table_that_is_missing_is_a_mistake(tmp_path: Path) -> None:
    duckdb.connect(str(tmp_path / "crm.duckdb")).close()
    with pytest.raises(InputError, match="cannot be read"):
        open_source([f"{tmp_path}/crm.duckdb::t"], tmp_path / "spool")
    with pytest.raises(InputError, match="no such file"):
        open_source([f"{tmp_path}/crn.duckdb::t"], tmp_path / "spool")


def test_a_signed_address_is_fetched_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "rows.jsonl").write_bytes(LINES)
    with _Web(tmp_path / "web") as url:
        with open_source([f"{url}/rows.jsonl?signature=abcdef123456"], tmp_path / "spool") as source:
            rows = list(source.rows())
        with pytest.raises(InputError, match="says 404") as caught:
            open_source([f"{url}/none.jsonl?signature=abcdef123456"], tmp_path / "spool")
    assert len(rows) == 50
    assert rows[0].place == "http://127.0.0.1/rows.jsonl:1"
    assert "abcdef" not in caught.value.message
    with pytest.raises(InputError, match="clear text"):
        open_source(["http://example.com/rows.jsonl"], tmp_path / "spool")


@pytest.mark.parametrize(("path", "fault"), [("silent", "RemoteDisconnected"), ("cut", "IncompleteRead")])
def test_a_server_that_hangs_up_is_named_and_not_the_disk(tmp_path: Path, path: str, fault: str) -> None:
    with _Web(tmp_path, _HangsUp) as url, pytest.raises(InputError, match=f"cannot be fetched: {fault}"):
        open_source([f"{url}/{path}.jsonl"], tmp_path / "spool")
    assert not list((tmp_path / "spool").iterdir())


def test_a_full_disk_is_not_the_address_s_fault(bucket: boto3.client) -> None:
    bucket.put_object(Bucket="rows", Key="full.jsonl", Body=LINES)
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError, match="No space"):  # noqa: PTH123
        fetch("s3://rows/full.jsonl", full)


def _partitioned(folder: Path) -> None:
    places = ("lang=de/day=2026-01-31", "lang=de/day=__HIVE_DEFAULT_PARTITION__", "lang=e%20n/day=2026-02-01")
    for first, place in enumerate(places):
        (folder / place).mkdir(parents=True)
        pl.DataFrame({"id": [first, first + 1], "text": ["a", "b"]}).write_parquet(folder / place / "part-0.parquet")


class _HangsUp(http.server.SimpleHTTPRequestHandler):
    """Before its answer, or in the middle of it."""

    def do_GET(self) -> None:
        self.close_connection = True
        if self.path == "/cut.jsonl":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{")


class _Web:
    """A web server of a folder."""

    def __init__(self, folder: Path, kind: type[http.server.SimpleHTTPRequestHandler] | None = None) -> None:
        class Quiet(kind or http.server.SimpleHTTPRequestHandler):  # type: ignore[misc]
            def __init__(self, *args: object) -> None:
                super().__init__(*args, directory=str(folder))

            def log_message(self, format: str, *args: object) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
