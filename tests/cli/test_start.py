"""A person waits for what is imported: `--help` needs the command line alone, `check` no database and no network."""

import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import Shell

IMPORTED = """
import contextlib, io, sys
from llmbatch.cli.app import main
with contextlib.redirect_stdout(io.StringIO()):
    code = main(sys.argv[1:])
print(code, *sorted({name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names))
"""
SHOWING = {"annotated_doc", "attr", "linkify_it", "llmbatch", "markdown_it", "mdurl", "pygments", "rich", "shellingham"}
WORKING = {
    "aiohttp",
    "aiolimiter",
    "duckdb",
    "genai_prices",
    "httpx2",
    "json_repair",
    "openai",
    "polars",
    "tenacity",
    "uvloop",
}


def imported(folder: Path, *words: str) -> set[str]:
    """Packages that a command imports, beside Python's own."""
    said = subprocess.run(
        [sys.executable, "-c", IMPORTED, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    code, *names = said.stdout.split()
    assert code == "0"
    return {name for name in names if not name.startswith("_")}


def test_help_imports_the_command_line_and_nothing_that_works(tmp_path: Path) -> None:
    assert imported(tmp_path, "--help") <= SHOWING | {"typer"}


def test_nor_does_the_version(tmp_path: Path) -> None:
    assert imported(tmp_path, "--version") <= SHOWING | {"typer"}


def test_check_imports_no_database_and_no_network(shell: Shell) -> None:
    assert not imported(shell.folder, "check", "label") & WORKING
