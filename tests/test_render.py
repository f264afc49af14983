import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch.errors import PipelineError
from llmbatch.pipeline import Pipeline
from llmbatch.render import Renderer, RenderError
from llmbatch.settings import Settings
from llmbatch.types import Row

SCHEMA = {"type": "object", "properties": {"tag": {"type": "string"}}}


def pipeline(prompt: str = "Label: {{ text }}", **tables: Any) -> Pipeline:
    request = {"model": "m-1", "system": "You label.", "params": {"temperature": 0}}
    return Pipeline(
        name="label",
        folder=Path("label"),
        settings=Settings.model_validate({"request": request, **tables}),
        prompt=prompt,
        schema=SCHEMA,
        check=None,
        hooks=None,
        version="v1",
    )


def row(**columns: Any) -> Row:
    return Row(7, columns, "rows.jsonl", 8)


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from([None, "You label.", "\x00"]))
def test_the_key_is_the_hash_of_the_canonical_body(text: str, system: str | None) -> None:
    base = pipeline()
    with_system = base.settings.request.model_copy(update={"system": system})
    base = replace(base, settings=base.settings.model_copy(update={"request": with_system}))
    request = Renderer(base).request(row(text=text))
    messages = [{"role": "system", "content": system}] if system is not None else []
    messages.append({"role": "user", "content": f"Label: {text}"})
    body = {"model": "m-1", "messages": messages, "params": {"temperature": 0}, "response_format": SCHEMA}
    assert request.key == hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
    assert list(request.messages) == messages
    assert request.row_no == 7


def test_what_changes_the_answer_changes_the_key_and_nothing_else_does() -> None:
    def key(prompt: str = "Label: {{ text }}", **tables: Any) -> str:
        return Renderer(pipeline(prompt, **tables)).request(row(text="a", id="x")).key

    same = {key(), key(limits={"concurrency": 3}), key(provider={"kind": "offline"}), key(input={"id": "id"})}
    other = {
        key("Label it: {{ text }}"),
        key(request={"model": "m-2"}),
        key(request={"model": "m-1", "params": {"seed": 1}}),
    }
    assert len(same) == 1
    assert len(other) == 3
    assert not same & other


def test_an_undefined_name_is_an_error_that_names_its_line() -> None:
    with pytest.raises(RenderError, match=r"prompt\.j2:2: undefined value") as caught:
        Renderer(pipeline("Label:\n{{ txet }}")).request(row(text="a"))
    assert caught.value.failure == "render"


def test_a_broken_template_is_a_pipeline_error() -> None:
    with pytest.raises(PipelineError, match=r"prompt\.j2:2: "):
        Renderer(pipeline("Label:\n{% if %}"))


@pytest.mark.parametrize(
    "attack",
    [
        "{{ text.__class__ }}",
        "{{ text.__class__.__mro__ }}",
        "{{ row.__class__ }}",
        "{% for a in range(1000000) %}{% for b in range(1000000) %}{% endfor %}{% endfor %}",
        "{{ ''.format.__globals__ }}",
    ],
)
def test_templates_reach_neither_python_nor_run_for_ever(attack: str) -> None:
    with pytest.raises(RenderError):
        Renderer(pipeline(attack)).request(row(text="a"))


def test_data_is_never_a_template() -> None:
    request = Renderer(pipeline()).request(row(text="{{ 7 * 7 }} {% raw %}"))
    assert request.messages[-1]["content"] == "Label: {{ 7 * 7 }} {% raw %}"


def test_columns_that_are_no_names_are_reached_through_row() -> None:
    request = Renderer(pipeline("{{ row['ticket text'] }}")).request(row(**{"ticket text": "hello"}))
    assert request.messages[-1]["content"] == "hello"


def test_long_rows_are_refused_or_cut_in_their_longest_column() -> None:
    long = row(title="1234", text="x" * 100, n=5)
    limits = {"max_chars": 50}
    with pytest.raises(RenderError, match="104 characters; max_chars is 50") as caught:
        Renderer(pipeline(input=limits)).fit(long)
    assert caught.value.failure == "too_long"
    cut = Renderer(pipeline(input={**limits, "too_long": "truncate"})).fit(long)
    assert cut.columns == {"title": "1234", "text": "x" * 46, "n": 5}
    assert Renderer(pipeline(input={"max_chars": 104})).fit(long) is long
    with pytest.raises(RenderError, match="cannot be cut"):
        Renderer(pipeline(input={"max_chars": 50, "too_long": "truncate"})).fit(row(a="x" * 60, b="y" * 60))


def test_variables_are_those_the_template_takes_from_a_row() -> None:
    template = "{% for t in tags %}{{ t }}{% endfor %}{{ text }}"
    assert Renderer(pipeline(template)).variables() == {"tags", "text"}
