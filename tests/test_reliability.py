"""docs/reliability.md: every row names a test that exists."""

import ast
import re
from functools import cache

from tests.pages import ROOT

PAGE = ROOT / "docs" / "reliability.md"
_ROW = re.compile(r"^\| .+ \|$", re.MULTILINE)
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def rows() -> list[list[str]]:
    """The cells of all rows of four: fault, behaviour, test, measured."""
    lines = _ROW.findall(PAGE.read_text(encoding="utf-8"))
    split = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [cells for cells in split if len(cells) == 4 and cells[0] != "fault"]


@cache
def names_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    return {node.name for node in ast.walk(tree) if isinstance(node, functions)}


def test_sixty_faults_at_least() -> None:
    faults = [fault for fault, *_ in rows()]
    assert len(faults) >= 60
    assert len(set(faults)) == len(faults)


def test_every_row_names_a_test_that_exists_and_says_what_happens() -> None:
    for fault, behaviour, test, measured in rows():
        assert behaviour, fault
        assert measured, fault
        named = _TEST.fullmatch(test)
        assert named, f"{fault}: {test}"
        assert named[2] in names_in(named[1]), test


def test_commands_lead_to_campaigns_that_exist() -> None:
    modules = set(re.findall(r"python -m ([\w.]+)", PAGE.read_text(encoding="utf-8")))
    assert modules
    for module in modules:
        assert (ROOT / (module.replace(".", "/") + ".py")).exists(), module
