"""Looking for what must not be there: in what is said, in every file and in every cell of every ledger."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from llmbatch.ledger import connect
from tests.cli.conftest import Shell

_SEVERAL = (
    "import json, sys; from llmbatch.cli import main; "
    "codes = [main(each) for each in json.loads(sys.argv[1])]; print(json.dumps(codes))"
)


def called(shell: Shell, commands: Sequence[Sequence[str]]) -> tuple[list[int], str]:
    """Exit statuses of several commands, and what they said on both streams; in one process, to save time."""
    argv = [sys.executable, "-c", _SEVERAL, json.dumps(commands)]
    done = subprocess.run(argv, cwd=shell.folder, env=shell.env, capture_output=True, text=True, check=True)
    said, _, codes = done.stdout.rstrip().rpartition("\n")
    return json.loads(codes), said + done.stderr


def places(folder: Path, needles: Iterable[str], *, leave_out: Iterable[str] = ()) -> list[str]:
    """Where any of the needles stands: files under a folder, and tables of DuckDB files, whose text may be packed."""
    wanted, skipped = [needle.encode() for needle in needles], set(leave_out)
    return [
        name
        for name, data in _everything(folder)
        if Path(name.partition("#")[0]).name not in skipped and any(needle in data for needle in wanted)
    ]


def _everything(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield str(path.relative_to(folder)), str(path).encode() + path.read_bytes()
    for path in sorted(folder.rglob("*.duckdb")):
        con = connect(path)
        for (table,) in con.execute("select table_name from duckdb_tables()").fetchall():
            for row in con.execute(f'from "{table}"').fetchall():
                yield f"{path.relative_to(folder)}#{table}", repr(row).encode()
        con.close()
