"""Runs from and into an object store, out of tables and into partitions: the program, and a real S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import duckdb
import orjson
import polars as pl
import pytest

from llmbatch.simulator import Scenario
from tests.cli.conftest import Serve, Shell, tickets
from tests.counterparts.aws import CREDENTIALS, moto


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with moto(tmp_path_factory.mktemp("aws")) as url:
        yield url


@pytest.fixture
def bucket(server: str, shell: Shell) -> Iterator[boto3.client]:
    shell.env |= {**CREDENTIALS, "AWS_ENDPOINT_URL": server}
    keys = {"aws_access_key_id": "k", "aws_secret_access_key": "s", "region_name": "eu-west-1"}
    client = boto3.client("s3", endpoint_url=server, **keys)
    if not client.list_buckets()["Buckets"]:
        client.create_bucket(Bucket="nights", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    yield client
    client.close()


def keys(bucket: boto3.client, prefix: str) -> set[str]:
    return {each["Key"] for each in bucket.list_objects_v2(Bucket="nights", Prefix=prefix).get("Contents", ())}


def test_a_night_in_a_bucket(bucket: boto3.client, shell: Shell, serve: Serve) -> None:
    url = serve(Scenario()).base_url
    lines = b"".join(orjson.dumps(row) + b"\n" for row in tickets(30))
    bucket.put_object(Bucket="nights", Key="in/rows.jsonl", Body=lines)
    words = ("run", "label", "--input", "s3://nights/in/rows.jsonl", "--base-url", url, "--quiet")
    shell.call(*words, "--output", "s3://nights/out/")
    assert keys(bucket, "out") == {
        f"out/{name}" for name in ("results.jsonl", "failed.jsonl", "report.json", "report.html")
    }
    results = bucket.get_object(Bucket="nights", Key="out/results.jsonl")["Body"].read().splitlines()
    assert [orjson.loads(line)["id"] for line in results] == [row["id"] for row in tickets(30)]
    report = orjson.loads(bucket.get_object(Bucket="nights", Key="out/report.json")["Body"].read())
    assert report["files"]["results"] == "s3://nights/out/results.jsonl"
    assert report["attempts"]["sent"] == 30
    left = [path for path in (shell.folder / ".llmbatch").rglob("*") if path.is_file()]
    assert not [path for path in left if path.name.startswith(("input-", "results", "report"))]
    kept = b"".join(path.read_bytes() for path in left)
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"].encode() not in kept


@pytest.mark.slow
def test_a_bucket_that_is_missing_is_found_before_anything_is_sent(
    bucket: boto3.client, shell: Shell, serve: Serve
) -> None:
    server = serve(Scenario())
    shell.write("rows.jsonl", tickets(5))
    words = ("run", "label", "--input", "rows.jsonl", "--base-url", server.base_url, "--quiet")
    assert "no-such-bucket" in shell.call(*words, "--output", "s3://no-such-bucket/out", expect=2).stderr
    assert "cannot be put there" in shell.call(*words, "--output", "https://example.com/out", expect=2).stderr
    assert server.account.total.requests == 0
    assert not (shell.folder / ".llmbatch/label.out").exists()


@pytest.mark.slow
def test_a_store_that_fails_at_the_end_costs_nothing_again(bucket: boto3.client, shell: Shell, serve: Serve) -> None:
    scenario = serve(Scenario())
    shell.write("rows.jsonl", tickets(5))
    (shell.pipeline / "hooks.py").write_text(
        # in the middle of the run the bucket is gone
        "import boto3, os\n\n\ndef check(output, row):\n"
        '    if os.environ.get("BREAK"):\n'
        '        boto3.client("s3").delete_bucket(Bucket="gone")\n        os.environ.pop("BREAK")\n'
        "    return []\n"
    )
    bucket.create_bucket(Bucket="gone", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    words = ("run", "label", "--input", "rows.jsonl", "--base-url", scenario.base_url, "--output", "s3://gone/out")
    shell.env["BREAK"] = "1"
    failed = shell.call(*words, "--quiet", expect=74)
    assert "type the same command again" in failed.stderr
    del shell.env["BREAK"]
    bucket.create_bucket(Bucket="gone", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    shell.call(*words, "--quiet")
    report = orjson.loads(bucket.get_object(Bucket="gone", Key="out/report.json")["Body"].read())
    assert report["attempts"]["sent"] == 0
    assert report["rows"]["reused"] == 5


@pytest.mark.slow
def test_a_table_into_partitions(shell: Shell, serve: Serve) -> None:
    with duckdb.connect(str(shell.folder / "crm.duckdb")) as con:
        con.execute("create table t as select 'r' || range as id, 'text ' || range as text, 'l' || range % 3 as lang "
                    "from range(30)")  # fmt: skip
    url = serve(Scenario()).base_url
    shell.run("--input", "crm.duckdb::t", "--partition-by", "lang", url=url)
    found = pl.read_parquet(shell.folder / "results/label/results/**/*.parquet", hive_partitioning=True)
    assert found.height == 30
    assert {path.name for path in (shell.folder / "results/label/results").iterdir()} == {
        "lang=l0",
        "lang=l1",
        "lang=l2",
    }
    refused = shell.call("run", "label", "--input", "crm.duckdb::t", "--partition-by", "language", expect=2)
    assert "no such column" in refused.stderr
    assert not (shell.folder / Path(".llmbatch/label.out")).exists()
