from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch.errors import PipelineError, UsageError
from llmbatch.pipeline import load, nearest
from llmbatch.pipeline import toml as pipeline_toml
from tests.pipeline.conftest import TOML


def edit(folder: Path, old: str, new: str, file: str = "pipeline.toml") -> None:
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))


def test_a_sound_folder_loads(folder: Path) -> None:
    pipeline = load(folder)
    assert pipeline.name == "label"
    assert pipeline.settings.request.params == {"temperature": 0, "max_completion_tokens": 60}
    assert pipeline.settings.limits.max_attempts == 4
    assert pipeline.check is None
    assert len(pipeline.version) == 12


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("concurrency = 4", "concurency = 4", r"toml:10: unknown key 'limits\.concurency'; .* 'limits\.concurrency'"),
        ("concurrency = 4", "temperature = 4", r"unknown key 'limits\.temperature'"),
        ("[limits]", "[limit]", r"pipeline\.toml:9: unknown key 'limit'; did you mean 'limits'"),
        ("concurrency = 4", 'concurrency = "many"', r"pipeline\.toml:10: limits\.concurrency: \"auto\" or a whole"),
        ("concurrency = 4", 'max_failed = "1 in 10"', r"limits\.max_failed: a number of rows"),
        ("concurrency = 4", "budget_usd = -1", r"limits\.budget_usd: .*greater than or equal to 0"),
        ("concurrency = 4", "share = 1.5", r"limits\.share"),
        ('model = "m-1"', "", r"'request\.model' is required"),
        ('model = "m-1"', 'model = "m-1', r"not valid TOML: .*line 2"),
        ("[input]", '[input]\nrequire_columns = ["a"]', r"unknown key 'input\.require_columns'"),
        ("[request]", 'budget_usd = 5\n[request]', r"unknown key 'budget_usd'; did you mean 'limits\.budget_usd'"),
    ],
)  # fmt: skip
def test_mistakes_name_file_line_and_the_nearest_key(folder: Path, old: str, new: str, message: str) -> None:
    edit(folder, old, new)
    with pytest.raises(PipelineError, match=message) as caught:
        load(folder)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "pipeline.toml").unlink(), r"pipeline\.toml is missing"),
        (lambda f: (f / "prompt.j2").unlink(), r"prompt\.j2 is missing"),
        (lambda f: (f / "schema.json").unlink(), r"schema\.json is missing, and hooks\.py defines no Output"),
        (lambda f: (f / "schema.json").write_text('{\n"type": object}'), r"schema\.json:2:9: not valid JSON"),
        (lambda f: (f / "schema.json").write_text("[]"), "a JSON Schema is an object"),
        (lambda f: (f / "prompt.j2").write_bytes(b"caf\xe9"), r"prompt\.j2 is not UTF-8 \(byte 3\)"),
        (lambda f: (f / "hooks.py").write_text("x = 1\ny = 1 / 0\n"), r"hooks\.py:2: ZeroDivisionError"),
        (lambda f: (f / "hooks.py").write_text("def check(output, row)\n"), r"hooks\.py:1: SyntaxError"),
        (lambda f: (f / "hooks.py").write_text("check = 5\n"), "check must be a function"),
    ],
)
def test_unusable_folders(folder: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(folder)
    with pytest.raises(PipelineError, match=message):
        load(folder)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="no pipeline folder") as caught:
        load(tmp_path / "nowhere")
    assert "llmbatch init" in str(caught.value.hint)


def test_overrides_win_and_name_themselves_in_errors(folder: Path) -> None:
    pipeline = load(folder, overrides=["limits.concurrency=8", "request.model=m-2", "request.params.temperature=0.5"])
    assert pipeline.settings.limits.concurrency == 8
    assert pipeline.settings.request.model == "m-2"
    assert pipeline.settings.request.params["temperature"] == 0.5
    with pytest.raises(PipelineError, match=r"^--set limits\.concurency: unknown key.*'limits\.concurrency'"):
        load(folder, overrides=["limits.concurency=8"])
    for bad in ("limits.concurrency", "=8", "label.x=1"):
        with pytest.raises((UsageError, PipelineError)):
            load(folder, overrides=["label=a", bad])


def test_the_offline_provider_is_a_model_of_its_own(folder: Path) -> None:
    real, offline = load(folder), load(folder, overrides=["provider.kind=offline"])
    assert offline.settings.request.model == "offline/extractive-1"
    assert real.version != offline.version


def test_hooks_may_author_the_schema_and_check(folder: Path) -> None:
    (folder / "schema.json").unlink()
    (folder / "hooks.py").write_text(
        "from __future__ import annotations\n"
        "from pydantic import BaseModel\n"
        "class Part(BaseModel):\n    name: str\n"
        "class Output(BaseModel):\n    parts: list[Part]\n"
        "def check(output, row):\n    return [] if output['parts'] else ['no parts']\n"
    )
    pipeline = load(folder)
    assert list(pipeline.schema["properties"]) == ["parts"]
    assert pipeline.check is not None
    assert pipeline.check({"parts": []}, {}) == ["no parts"]
    assert not (folder / "__pycache__").exists()


def test_hooks_are_not_run_when_told_so(folder: Path) -> None:
    (folder / "hooks.py").write_text("raise SystemError('imported')\n")
    assert load(folder, use_hooks=False).check is None


def test_the_prompt_version_follows_what_changes_the_answer(folder: Path) -> None:
    version = load(folder).version
    edit(folder, "concurrency = 4", "concurrency = 40")
    assert load(folder).version == version
    versions = {version}
    for old, new, file in (
        ('"You label."', '"You judge."', "pipeline.toml"),
        ("Label", "Name", "prompt.j2"),
        ('"tag"', '"label"', "schema.json"),
    ):
        edit(folder, old, new, file)
        versions.add(load(folder).version)
    (folder / "hooks.py").write_text("def check(output, row):\n    return []\n")
    versions.add(load(folder).version)
    assert len(versions) == 5


def test_nearest_prefers_the_right_name_in_another_table() -> None:
    assert nearest("timeout_s", ["limits.timeout_s", "limits.share"]) == "limits.timeout_s"
    assert nearest("zzz", ["limits.timeout_s"]) is None


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200) | st.lists(st.sampled_from(TOML.splitlines()), max_size=12).map("\n".join))
def test_any_text_loads_or_is_a_pipeline_error(text: str) -> None:
    try:
        pipeline_toml.settings(text, Path("pipeline.toml"))
    except PipelineError as error:
        assert "pipeline.toml" in error.message  # noqa: PT017 - it may as well load
