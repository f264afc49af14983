"""What is written: for its owner only, never through somebody else's link, whatever the names are."""

import os
import re
import stat
import subprocess
import sys
import threading
import time
from itertools import product
from pathlib import Path

import duckdb
import orjson
import pytest

from llmbatch.ledger import connect
from llmbatch.simulator import Latency, Scenario
from tests.cli.conftest import Serve, Shell, tickets
from tests.security.search import called

OPEN_UMASK = "import os, sys; os.umask(0); from llmbatch.cli import main; raise SystemExit(main(sys.argv[1:]))"


def modes(folder: Path, own: set[Path]) -> dict[str, str]:
    """Files and folders that somebody else can do anything with, of those that llmbatch made."""
    found = {}
    for path in folder.rglob("*"):
        try:
            mode = stat.S_IMODE(path.lstat().st_mode)
        except FileNotFoundError:
            continue  # it was a temporary file
        if path not in own and not path.is_symlink() and mode != (0o700 if path.is_dir() else 0o600):
            found[str(path.relative_to(folder))] = f"{mode:04o}"
    return found


@pytest.mark.short
def test_everything_is_private_under_any_umask_at_any_moment(shell: Shell, serve: Serve) -> None:
    server = serve(Scenario(latency=Latency(median_ms=40)))
    rows = shell.write("in.jsonl", tickets(400)).read_bytes()
    own = set(shell.folder.rglob("*"))
    argv = [sys.executable, "-c", OPEN_UMASK, "run", "label", "-i", "-", "--base-url", server.base_url, "--quiet"]
    run = subprocess.Popen(argv, cwd=shell.folder, env=shell.env, stdin=subprocess.PIPE)
    assert run.stdin is not None
    threading.Thread(target=lambda: (run.stdin.write(rows), run.stdin.close())).start()  # type: ignore[union-attr]
    seen: set[str] = set()
    while run.poll() is None:
        assert modes(shell.folder, own) == {}
        seen |= {path.name for path in shell.folder.rglob("*")}
        time.sleep(0.005)
    assert run.returncode == 0
    assert modes(shell.folder, own) == {}
    html = [sys.executable, "-c", OPEN_UMASK, "report", "label", "--html", "page.html"]
    subprocess.run(html, cwd=shell.folder, env=shell.env, check=True)
    assert modes(shell.folder, own) == {}
    after = {path.name for path in shell.folder.rglob("*")}
    assert {"label.duckdb", "label.duckdb.lock", "label.status.json", "results.jsonl", "page.html"} <= after
    assert any(name.startswith("stdin-") for name in seen)  # the spool of standard input was looked at too
    assert not any(path.is_socket() or path.is_fifo() for path in shell.folder.rglob("*"))


def test_files_that_were_open_to_others_are_closed(shell: Shell) -> None:
    shell.write("in.jsonl", tickets(2))
    own = set(shell.folder.rglob("*"))
    shell.run("-i", "in.jsonl", "--provider", "offline", expect=None)
    for path in shell.folder.rglob("*"):
        if path.is_file() and path not in own:
            path.chmod(0o666)
    shell.run("-i", "in.jsonl", "--provider", "offline", expect=None)
    assert modes(shell.folder, own) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link to somebody else")
@pytest.mark.parametrize("flag", ["--output", "--ledger"])
@pytest.mark.parametrize("depth", [0, 1])
def test_nothing_is_sent_when_the_way_leads_over_somebody_elses_link(
    shell: Shell, serve: Serve, flag: str, depth: int
) -> None:
    server = serve(Scenario())
    shell.write("in.jsonl", tickets(2))
    (shell.folder / "victim").mkdir()
    link = shell.folder / "link"
    link.symlink_to(shell.folder / "victim")
    os.chown(link, 65534, 65534, follow_symlinks=False)
    target = link / "below" if depth or flag == "--ledger" else link
    done = shell.call("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, flag, target, expect=2)
    assert f"{link} is a link that belongs to another user" in done.stderr
    assert list((shell.folder / "victim").iterdir()) == []
    assert server.account.total.requests == 0


def test_the_users_own_links_are_followed(shell: Shell) -> None:
    shell.write("in.jsonl", tickets(2))
    (shell.folder / "disk").mkdir()
    (shell.folder / "link").symlink_to(shell.folder / "disk")
    shell.call(
        "run", "label", "-i", "in.jsonl", "--provider", "offline", "--output", "link/out", "--quiet", expect=None
    )
    assert (shell.folder / "disk/out/results.jsonl").exists()


NAMES = ["it's; drop table attempts; --", 'a "quoted" [name]*', "$(touch owned) `touch owned`", "{{ 7*7 }}", "--help"]


def test_names_are_names(shell: Shell) -> None:
    import polars as pl

    commands, expected = [], {}
    for number, (name, kind) in enumerate(product(NAMES, ("jsonl", "parquet"))):
        rows = tickets(2, first=10 * number)
        file = shell.folder / f"{name}.{kind}"
        if kind == "parquet":
            pl.DataFrame(rows).write_parquet(file)
        else:
            shell.write(file.name, rows)
        where = [f"--output=./{name} {kind}", f"--ledger=./{name} {kind}.duckdb"]
        commands.append(["run", "label", f"--input=./{name}.{kind}", "--provider", "offline", "--quiet", *where])
        expected[name, kind] = {row["id"] for row in rows}
    called(shell, commands)
    for (name, kind), ids in expected.items():
        assert {row["id"] for row in _results(shell.folder / f"{name} {kind}", kind)} == ids
        con = connect(shell.folder / f"{name} {kind}.duckdb")
        assert con.execute("select count(*) from attempts").fetchone() == (2,)
        con.close()
    assert not (shell.folder / "owned").exists()


def _results(folder: Path, kind: str) -> list[dict[str, object]]:
    import polars as pl

    if kind == "parquet":
        return pl.read_parquet(folder / "results.parquet", glob=False).to_dicts()
    return [orjson.loads(line) for line in (folder / "results.jsonl").read_bytes().splitlines()]


def test_ids_and_columns_are_neither_paths_nor_sql(shell: Shell) -> None:
    nasty = ["../../escape", "/etc/passwd", "'; drop table attempts; --", "a\x00b", "..", "%2e%2e"]
    column = 'x"; drop table runs; --'
    shell.write("in.jsonl", [{"id": name, "text": name, column: name} for name in nasty])
    own = {path for path in shell.folder.parent.rglob("*") if "pytest" not in path.name}
    run = ["run", "label", "-i", "in.jsonl", "--provider", "offline", "--quiet", "--format"]
    codes, said = called(
        shell, [[*run, "jsonl"], [*run, "parquet"], *(["show", "label", name] for name in nasty), ["runs", "label"]]
    )
    assert codes[2:] == [0] * (len(nasty) + 1), said
    assert [row["id"] for row in shell.results()] == nasty
    assert len(re.findall(r"finished +6 +", said)) == 2, said
    made = {path.relative_to(shell.folder).parts[0] for path in shell.folder.rglob("*") if path not in own}
    assert made <= {".llmbatch", "results"}


@pytest.mark.parametrize("ledger", [":memory:", "md:x", "sqlite:x.duckdb", "https:x", "https://host/x", "x?y.duckdb"])
def test_a_ledgers_name_is_never_an_address(shell: Shell, ledger: str) -> None:
    shell.write("in.jsonl", tickets(2))
    before = set(shell.folder.rglob("*"))
    done = shell.call("run", "label", "-i", "in.jsonl", "--provider", "offline", "--ledger", ledger, expect=2)
    assert "no such file name" in done.stderr
    assert set(shell.folder.rglob("*")) == before


DOORS = [
    "select * from read_csv('{secret}')",
    "select * from '{secret}'",
    "copy (select 1) to '{folder}/out.csv'",
    "attach '{folder}/other.duckdb'",
    "install httpfs",
    "load httpfs",
    "set enable_external_access = true",
    "set lock_configuration = false",
    "copy attempts from '{secret}'",
    "export database '{folder}/dump'",
    "select * from glob('{folder}/*')",
    "select content from read_text('{secret}')",
    "pragma temp_directory='{folder}/elsewhere'",
]


@pytest.mark.short
def test_the_ledgers_database_opens_no_other_door(tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    con = connect(tmp_path / "ledger.duckdb")
    for door in DOORS:
        with pytest.raises(duckdb.Error):
            con.execute(door.format(secret=secret, folder=tmp_path)).fetchall()
    con.close()
    assert {path.name for path in tmp_path.iterdir()} == {"secret.csv", "ledger.duckdb"}
