"""Ledgers of older versions: each stored one opens and gives its replies; a migration happens whole or not at all."""

import gzip
import os
import signal
import subprocess
import sys
import textwrap
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from llmbatch.errors import StorageError, UsageError
from llmbatch.ledger import Ledger, answers_between, begin, connect, examine, history, known, schema, statements
from llmbatch.ledger.runs import Run
from tests.ledger.conftest import attempt, key, request, start

STORED = sorted((Path(__file__).parent / "stored").glob("v*.duckdb.gz"))

SCHEMA_2 = """
    alter table attempts add column note varchar;
    update attempts set note = 'from version 1';
    insert into meta values ('schema_version', '2');
"""


def unpack(stored: Path, folder: Path) -> Path:
    path = folder / "l.duckdb"
    path.write_bytes(gzip.decompress(stored.read_bytes()))
    return path


@pytest.fixture
def version_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """A llmbatch to come, with one migration more."""
    migrate_with(monkeypatch, SCHEMA_2)


def migrate_with(monkeypatch: pytest.MonkeyPatch, sql: str) -> None:
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 2)
    monkeypatch.setattr(schema, "MIGRATIONS", {**schema.MIGRATIONS, 2: "schema_2"})
    monkeypatch.setitem(statements.statements(), "schema_2", sql)


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


@pytest.mark.usefixtures("version_2")
def test_an_older_ledger_is_migrated(tmp_path: Path) -> None:
    path = unpack(STORED[0], tmp_path)
    con = connect(path)
    assert con.execute("select seq, note from attempts order by seq limit 1").fetchone() == (1, "from version 1")
    con.close()
    assert versions(path)[0] == ["1", "2"]
    connect(path).close()  # and it stays so
    assert versions(path)[0] == ["1", "2"]


@pytest.mark.usefixtures("version_2")
def test_a_new_ledger_goes_through_every_version(tmp_path: Path) -> None:
    connect(tmp_path / "l.duckdb").close()
    marks, columns = versions(tmp_path / "l.duckdb")
    assert marks == ["1", "2"]
    assert "note" in columns


def test_a_migration_that_fails_in_the_middle_leaves_the_older_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = unpack(STORED[0], tmp_path)
    with monkeypatch.context() as broken:
        migrate_with(broken, SCHEMA_2 + "select * from nowhere;")
        with pytest.raises(StorageError, match="nowhere"):
            connect(path)
    marks, columns = versions(path)
    assert marks == ["1"]
    assert "note" not in columns
    connect(path).close()


def test_a_migration_that_is_killed_in_the_middle_leaves_the_older_version(tmp_path: Path) -> None:
    path = unpack(STORED[0], tmp_path)
    script = textwrap.dedent(f"""
        import pytest
        from pathlib import Path
        from llmbatch.ledger import connect
        from tests.ledger.test_migrations import SCHEMA_2, migrate_with
        import llmbatch.ledger.schema as schema

        long = "create table middle as select 1; select count(*) from range(1000000000000) where range % 7 = 3;"
        migrate_with(pytest.MonkeyPatch(), SCHEMA_2 + long)
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
    assert marks == ["1"]
    assert "note" not in columns


def test_a_newer_ledger_is_refused_and_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = unpack(STORED[0], tmp_path)
    with monkeypatch.context() as newer:
        migrate_with(newer, SCHEMA_2)
        connect(path).close()
    before = path.read_bytes()
    with pytest.raises(UsageError, match="schema version 2; this llmbatch knows 1"):
        connect(path)
    diagnosis = examine(path)
    assert (diagnosis.schema_version, diagnosis.healthy, diagnosis.repairable) == (2, False, False)
    assert path.read_bytes() == before
