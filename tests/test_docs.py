"""The tables of README and docs/ against the code: nothing missing, nothing more, nothing else."""

import dataclasses
import importlib
import inspect
import re
import tomllib
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from llmbatch.errors import FAILURES, Decision, Exit
from llmbatch.grade import Quality
from llmbatch.report import RunReport
from llmbatch.settings import GRADERS, GraderSettings, PriceSettings, Settings
from llmbatch.simulator import BATCH_KINDS, Batches, Clock
from llmbatch.sink import added_columns
from llmbatch.source import parquet
from llmbatch.types import Status
from llmbatch.validate import FINAL
from tests.pages import PAGES, ROOT, anchors, blocks, links, table

README = ROOT / "README.md"
LIMITS, PIPELINES, QUALITY, RESULTS, TIERS = (
    ROOT / "docs" / f"{name}.md" for name in ("limits", "pipelines", "quality", "results", "tiers")
)


def test_exit_statuses() -> None:
    rows = table(README, "Exit statuses")
    assert [int(status) for status, _ in rows] == [code.value for code in Exit]
    for status, meaning in rows:
        resumable = int(status) in {4, 5, 6, 74, 129, 130, 143}
        assert ("resumable" in meaning) == resumable, status


def test_every_setting_is_named_with_its_default() -> None:
    named = {key.strip("`"): default for key, default, _ in table(PIPELINES, "pipeline.toml")}
    assert named == {key: f"`{default}`" if is_code(default) else default for key, default in keys(Settings)}


def test_every_kind_of_grader_is_named_with_what_it_wants() -> None:
    rows = {kind.strip("`"): set(re.findall(r"`(\w+)`", wants)) for kind, wants, _ in table(PIPELINES, "Graders")}
    assert rows == {kind: needs for kind, (needs, _) in GRADERS.items()}
    assert set(GRADERS) == set(typing.get_args(GraderSettings.model_fields["kind"].annotation))


def is_code(default: str) -> bool:
    return default not in ("none", "required")


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names and defaults as TOML writes them."""
    for name, info in model.model_fields.items():
        if name == "prices":
            yield from keys(PriceSettings, "prices.MODEL.")
        elif name == "graders":
            yield from keys(GraderSettings, "quality.graders.NAME.")
        elif prefix.startswith("quality.") and name in ("provider", "limits"):
            yield f"{prefix}{name}", "none"  # a table like the pipeline's own
        elif (kind := without_none(info.annotation)) and inspect.isclass(kind) and issubclass(kind, BaseModel):
            yield from keys(kind, f"{prefix}{name}.")
        else:
            yield prefix + name, default_of(info)


def default_of(info: FieldInfo) -> str:
    default = info.get_default(call_default_factory=True, validated_data={})
    match default:
        case _ if info.is_required():
            return "required"
        case None:
            return "none"
        case bool():
            return str(default).lower()
        case str():
            return f'"{default}"'
        case tuple():
            return "[]"
        case _:
            return str(default)


def test_the_toml_shown_is_a_pipeline() -> None:
    for shown in blocks(README, "toml"):
        Settings.model_validate(tomllib.loads(f'request.model = "m"\n{shown.text}'))


def test_every_field_of_the_report_is_named() -> None:
    assert [field.strip("`") for field, _ in table(RESULTS, "report.json")] == list(fields(RunReport))


def test_every_field_of_quality_is_named() -> None:
    assert [field.strip("`") for field, _ in table(QUALITY, "In report.json")] == list(fields(Quality))


def fields(kind: Any, prefix: str = "") -> Iterator[str]:
    """Dotted names of a dataclass's fields; ``[]`` after lists. What has a page of its own is one field."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        hint = without_none(hints[field.name])
        many = typing.get_origin(hint) is tuple
        inner, name = typing.get_args(hint)[0] if many else hint, prefix + field.name + "[]" * many
        if dataclasses.is_dataclass(inner) and inner is not Quality:
            yield from fields(inner, f"{name}.")
        else:
            yield name


def without_none(hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hints = [arg for arg in typing.get_args(hint) if arg is not type(None)]
        return hints[0] if len(hints) == 1 else hint
    return hint


def test_every_class_of_failure_is_named() -> None:
    rows = table(RESULTS, "Classes of failures")
    assert {name.strip("`"): meaning for name, meaning, *_ in rows} == FAILURES
    judged = {"truncated", "content_filter", "refusal", "empty", "not_json", "schema", "check", "check_error"}
    asked = {name.strip("`") for name, _, this_run, _ in rows if this_run == "yes"}
    assert judged - asked == FINAL


def test_every_decision_has_its_policy() -> None:
    rows = table(LIMITS, "The policy")
    named = {name for cell, *_ in rows for name in re.findall(r"`(\w+)`", cell)}
    assert named == {kind.__name__ for kind in subclasses(Decision)}
    classes = {name for *_, end in rows for name in re.findall(r"`(\w+)`", end)} - {"outage_patience_s"}
    judged = {name for _, what, *_ in rows for name in re.findall(r"`(\w+)`", what)}
    assert FAILURES.keys() - classes - judged == {"render"}


def subclasses(kind: type[Decision]) -> Iterator[type[Decision]]:
    for sub in kind.__subclasses__():
        if sub.__module__ == "llmbatch.errors":
            yield sub
            yield from subclasses(sub)


def test_the_numbers_are_the_codes() -> None:
    marks = set()
    for mark, what, value, where in table(LIMITS, "Numbers"):
        assert float(value) == number_at(where.strip("`")), what
        marks.add(mark.strip("| "))
    text = LIMITS.read_text()
    assert set(re.findall(r"\[([A-Z])\]", text)) == marks - {""}


def number_at(dotted: str) -> float:
    """The value of a module's constant, or of a parameter's default: ``limits.retry_budget.RetryBudget.floor``."""
    path, name = dotted.rsplit(".", 1)
    parts = path.split(".")
    if parts[-1][0].isupper():
        cls = getattr(importlib.import_module("llmbatch." + ".".join(parts[:-1])), parts[-1])
        return float(inspect.signature(cls).parameters[name].default)
    return float(getattr(importlib.import_module(f"llmbatch.{path}"), name))


@pytest.mark.parametrize(("page", "heading"), [(README, "Results"), (RESULTS, "results.jsonl, results.parquet")])
def test_the_columns_of_results(page: Path, heading: str) -> None:
    shown = re.findall(r"^\| `(llmbatch_\w+)` \|", page.read_text(), re.MULTILINE)
    assert shown == list(added_columns({"type": "object", "properties": {}}, ""))
    status = re.search(r"`llmbatch_status` \|(.*)", page.read_text())
    assert status is not None
    assert set(re.findall(r"`(\w+)`", status[1])) == {status.value for status in Status}


def test_how_parquet_is_rendered() -> None:
    """The table in README is that of the source's docstring."""
    assert parquet.__doc__ is not None
    lines = parquet.__doc__.split("=\n")[2].split("\n==")[0].splitlines()
    rendered: list[list[str]] = []
    for line in lines:
        name, value = line[:41].strip(), line[41:].strip()
        if name:
            rendered.append([name, value])
        else:
            rendered[-1][1] += f" {value}"
    shown = [[name, value.replace("`", "")] for name, value in table(README, "Input")]
    assert shown == [[name, value.replace("`", "")] for name, value in rendered]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        target, _, fragment = link.partition("#")
        path = page.parent / target if target else page
        assert path.exists(), link
        if fragment:
            assert fragment in anchors(path), link


def test_the_simulators_tables_about_batches() -> None:
    shown = {name.strip("`"): default for name, default, _ in table(TIERS, "Rehearsing")}
    models: dict[str, type[BaseModel]] = {"clock": Clock, "batches": Batches}
    known = dict(pair for name, model in models.items() for pair in keys(model, f"{name}."))
    assert shown == {key: f"`{default}`" if is_code(default) else default for key, default in known.items()}
    kinds = re.findall(r"^\| `(\w+)` \|(.*?)\|", TIERS.read_text().split("A `[[batch]]`")[1], re.MULTILINE)
    assert {kind: frozenset(re.findall(r"`(\w+)`", takes)) for kind, takes in kinds} == BATCH_KINDS
