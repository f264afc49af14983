"""The house's layers: a module imports only smaller numbers, and pure modules touch no I/O."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "llmbatch"

LAYERS = {
    "noun": -1, "hosts": 0, "types": 0, "errors": 0, "settings": 0, "scrub": 0, "__init__": 0,
    "pipeline": 1, "tally": 1, "reply": 1, "atomic": 1, "stores": 1, "halt": 1, "turns": 1, "passing": 1,
    "budget": 1, "extract": 1,
    "source": 2, "render": 2, "validate": 2, "grade": 2, "prices": 2, "ledger": 2, "limits": 2,
    "providers": 3, "planning": 3, "schedule": 3, "candidates": 3, "savings": 3,
    "engines": 4, "sink": 4, "report": 4, "progress": 4, "simulator": 4,
    "outside": 5, "intake": 5,
    "cli": 6,
    "__main__": 7,
}  # fmt: skip
PURE = (
    "candidates", "planning", "schedule", "render", "validate", "grade", "prices", "reply", "extract",
    "types", "errors",
)  # fmt: skip
IMPURE = {"duckdb", "openai", "rich", "os", "time", "asyncio", "pathlib", "socket", "subprocess", "aiohttp"}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: absolute imports only"
            yield node.module or ""
            if node.module == "llmbatch":
                yield from (f"llmbatch.{alias.name}" for alias in node.names)


def home(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    here = home(path)
    for name in imports(path):
        if not name.startswith("llmbatch."):
            continue
        there = name.split(".")[1]
        if there == here or there == "__version__":
            continue
        upward = f"{path.name} (layer {LAYERS[here]}) imports {there} (layer {LAYERS[there]})"
        assert LAYERS[there] < LAYERS[here], upward


@pytest.mark.parametrize("path", [p for p in MODULES if home(p) in PURE], ids=lambda p: str(p.relative_to(PACKAGE)))
def test_pure_modules_touch_no_io(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & IMPURE


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300, f"{path}: split it by noun"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert lines <= 40, f"{path}: {node.name} has {lines} lines"
