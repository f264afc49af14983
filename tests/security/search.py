"""Looking for what must not be there, in every file and in every cell of every ledger."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from llmbatch.ledger import connect


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
