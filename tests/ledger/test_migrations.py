"""Ledgers of older versions: each stored one opens and gives its replies; a migration happens whole or not at all."""

import gzip
import os
import signal
import subprocess
import sys
import textwrap
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from llmbatch.errors import StorageError, UsageError
from llmbatch.ledger import (
    Ledger,
    answers_between,
    begin,
    connect,
    examine,
    history,
    known,
    request_of,
    schema,
    statements,
)
from llmbatch.ledger.runs import Run
from tests.ledger.conftest import attempt, body, key, request, start

STORED = sorted((Path(__file__).parent / "stored").glob("v*.duckdb.gz"))

NOW, NEXT = schema.SCHEMA_VERSION, schema.SCHEMA_VERSION + 1
MARKS = [str(number) for number in range(1, NOW + 1)]
NEXT_SCHEMA = f"""
    alter table attempts add column note varchar;
    update attempts set note = 'from version {NOW}';
    insert into meta values ('schema_version', '{NEXT}');
"""


def unpack(stored: Path, folder: Path) -> Path:
    path = folder / "l.duckdb"
    path.write_bytes(gzip.decompress(stored.read_bytes()))
    return path


@pytest.fixture
def next_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A llmbatch to come, with one migration more."""
    migrate_with(monkeypatch, NEXT_SCHEMA)


def migrate_with(monkeypatch: pytest.MonkeyPatch, sql: str) -> None:
    monkeypatch.setattr(schema, "SCHEMA_VERSION", NEXT)
    monkeypatch.setattr(schema, "MIGRATIONS", {**schema.MIGRATIONS, NEXT: "schema_next"})
    monkeypatch.setitem(statements.statements(), "schema_next", sql)


def versions(path: Path) -> tuple[list[str], list[str]]:
    """Version marks and columns of attempts, read without llmbatch."""
    with duckdb.connect(str(path)) as con:
        marks = con.execute("select value from meta where name = 'schema_version' order by all").fetchall()
        columns = con.execute("select column_name from duckdb_columns() where table_name = 'attempts'").fetchall()
    return [mark for (mark,) in marks], [column for (column,) in columns]


def test_there_is_a_stored_ledger_of_every_version() -> None:
    assert [path.name for path in STORED] == [f"v{n}.duckdb.gz" for n in range(1, schema.SCHEMA_VERSION + 1)]


@pytest.mark.parametrize("stored", STORED, ids=lambda path: path.name)
async def test_a_stored_ledger_opens_and_gives_its_replies(stored: Path, tmp_path: Path) -> None:
    path = unpack(stored, tmp_path)
    ledger = await Ledger.open(path)
    found = await ledger.ask(lambda con: known(con, [key(n) for n in range(1, 6)]))
    assert {k: [(r.text, r.number, r.seq) for r in entry.replies] for k, entry in found.items()} == {
        key(1): [('{"a": "café \U0001f980"}', 1, 1)],
        key(2): [("no JSON", 1, 2), ('{"a": 1}', 2, 3)],
        key(4): [],
        key(5): [('{"a": 1}', 1, 6)],
    }
    assert found[key(2)].replies[1].cost_usd == Decimal("0.000012")
    rejection = found[key(4)].rejection
    assert rejection is not None
    assert rejection.failure == "context_length"
    answers = await ledger.ask(lambda con: answers_between(con, Run(1, "", 0, (), None), 0, 9))
    assert {n: str(answer.status) for n, answer in answers.items()} == {0: "done", 1: "done", 2: "failed", 3: "failed"}
    nights = await ledger.ask(history)
    assert [night["status"] for night in nights] == [None, "finished"]
    # and the night that was killed is gone on with
    assert (await ledger.ask(lambda con: begin(con, start(fingerprint="f2")))).resumes == (2,)
    assert await ledger.record(3, attempt(7), request(7), "v1") == 7
    await ledger.close()
    diagnosis = examine(path)
    assert diagnosis.findings == []
    assert diagnosis.counts["attempts"] == 7


@pytest.mark.usefixtures("next_version")
def test_an_older_ledger_is_migrated(tmp_path: Path) -> None:
    path = unpack(STORED[0], tmp_path)
    con = connect(path)
    assert con.execute("select seq, note from attempts order by seq limit 1").fetchone() == (1, f"from version {NOW}")
    con.close()
    assert versions(path)[0] == [*MARKS, str(NEXT)]
    connect(path).close()  # and it stays so
    assert versions(path)[0] == [*MARKS, str(NEXT)]


@pytest.mark.usefixtures("next_version")
def test_a_new_ledger_goes_through_every_version(tmp_path: Path) -> None:
    connect(tmp_path / "l.duckdb").close()
    marks, columns = versions(tmp_path / "l.duckdb")
    assert marks == [*MARKS, str(NEXT)]
    assert "note" in columns


def test_a_migration_that_fails_in_the_middle_leaves_the_older_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = unpack(STORED[-1], tmp_path)
    with monkeypatch.context() as broken:
        migrate_with(broken, NEXT_SCHEMA + "select * from nowhere;")
        with pytest.raises(StorageError, match="nowhere"):
            connect(path)
    marks, columns = versions(path)
    assert marks == MARKS
    assert "note" not in columns
    connect(path).close()


def test_a_migration_that_is_killed_in_the_middle_leaves_the_older_version(tmp_path: Path) -> None:
    path = unpack(STORED[-1], tmp_path)
    script = textwrap.dedent(f"""
        import pytest
        from pathlib import Path
        from llmbatch.ledger import connect
        from tests.ledger.test_migrations import NEXT_SCHEMA, migrate_with
        import llmbatch.ledger.schema as schema

        long = "create table middle as select 1; select count(*) from range(1000000000000) where range % 7 = 3;"
        migrate_with(pytest.MonkeyPatch(), NEXT_SCHEMA + long)
        real = schema.sequence
        def told(con, record):
            print("migrating", flush=True)
            return real(con, record)
        schema.sequence = told
        connect(Path({str(path)!r}))
    """)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "migrating\n"
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.5)  # it is in the long statement by now
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    marks, columns = versions(path)
    assert marks == MARKS
    assert "note" not in columns


def test_a_newer_ledger_is_refused_and_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = unpack(STORED[-1], tmp_path)
    with monkeypatch.context() as newer:
        migrate_with(newer, NEXT_SCHEMA)
        connect(path).close()
    before = path.read_bytes()
    with pytest.raises(UsageError, match=f"schema version {NEXT}; this llmbatch knows {NOW}"):
        connect(path)
    diagnosis = examine(path)
    assert (diagnosis.schema_version, diagnosis.healthy, diagnosis.repairable) == (NEXT, False, False)
    assert [finding.word for finding in diagnosis.findings] == ["too new"]
    assert path.read_bytes() == before


async def test_long_texts_of_version_1_are_cut_into_parts(tmp_path: Path) -> None:
    path, long = tmp_path / "l.duckdb", "é" * 10_000
    with duckdb.connect(str(path)) as con:
        con.execute(statements.statements()["schema_1"])
        for seq, raw in ((1, body(long)), (2, body("short"))):
            con.execute(
                "insert into attempts by name select ?::bigint as seq, 1 as run_no, ?::blob as key, 0 as row_no, "
                "1 as number, now()::timestamp as asked_at, 1.0 as latency_ms, 'answered' as outcome, "
                "false as possibly_paid, ? as raw",
                [seq, bytes.fromhex(key(seq)), raw],
            )
            for _ in range(2):  # version 1 stored a prompt again after a 429
                con.execute("insert into requests values (?, 'v1', ?)", [bytes.fromhex(key(seq)), raw])
        con.execute("insert into prompt_versions values ('v1', null, 'm-1', null, '{}', '{}', 'p', null, now())")
        con.execute("insert into runs values (1, 'r', 'tag', 'v1', 'i', 'f', 2, '{}', [], now())")
    with closing(connect(path)) as con:
        found = known(con, [key(1), key(2)])
        assert [entry.replies[0].text for entry in found.values()] == [long, "short"]
        assert [(request_of(con, key(n)) or {})["user_message"] for n in (1, 2)] == [body(long), body("short")]
        assert con.execute("select count(*) from requests").fetchone() == (2,)
        assert con.execute("select max(length(part)), count(*) from parts").fetchone() == (4096, 6)
    assert examine(path).findings[0].what.startswith("there is no record")
