"""llmbatch check and llmbatch init: pipelines without a run."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmbatch.cli import flags
from llmbatch.cli.gate import dumped, shown
from llmbatch.errors import InputError, PipelineError, UsageError

if TYPE_CHECKING:
    from llmbatch.pipeline import Pipeline
    from llmbatch.render import Renderer
    from llmbatch.types import Request, Row

EXIT_STATUS = """EXIT STATUS

0 the pipeline is usable
1 fault in llmbatch
2 mistake in usage, pipeline or input"""


def check(
    pipeline: flags.PipelineFolder,
    input: Annotated[
        str | None,
        typer.Option("--input", "-i", metavar="FILE", help="Render this file's first row instead of a made-up one."),
    ] = None,
    set_: flags.Set = None,
    no_hooks: Annotated[bool, typer.Option("--no-hooks", help="Do not import hooks.py.")] = False,
    json: flags.Json = False,
) -> None:
    """Load and validate a pipeline and render one row. Sends nothing."""
    loaded, renderer = usable(pipeline, set_ or (), use_hooks=not no_hooks)
    row = _first_row(input) if input else _made_up(loaded, renderer)
    request = _rendered(loaded, renderer, row, real=bool(input))
    if json:
        facts = {
            "pipeline": loaded.name,
            "prompt_version": loaded.version,
            "settings": loaded.settings.model_dump(mode="json"),
            "schema": loaded.schema,
            "request": {
                "key": request.key,
                "model": request.model,
                "messages": request.messages,
                "params": request.params,
            },
        }
        typer.echo(dumped(facts))
        return
    typer.echo(shown(f"{loaded.name}: usable, prompt version {loaded.version}, model {loaded.settings.request.asked}"))
    if loaded.settings.request.ladder:
        typer.echo(shown(_climbing(loaded)))
    typer.echo(shown(f"row {row.place} gives the request {request.key[:12]}:\n"))
    for message in request.messages:
        typer.echo(shown(f"[{message['role']}]\n{message['content']}\n"))


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The new pipeline's folder.")],
) -> None:
    """Write a new pipeline folder to start from."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not empty", hint="name a new folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for source in (files("llmbatch.cli") / "template").iterdir():
            if source.is_file():
                (folder / source.name).write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror}") from None
    typer.echo(f"wrote {folder}/: pipeline.toml, prompt.j2, schema.json, hooks.py")
    typer.echo(f"edit them, then: llmbatch check {folder}")


def usable(
    folder: Path, overrides: list[str] | tuple[str, ...], *, use_hooks: bool = True, prices: Path | None = None
) -> tuple[Pipeline, Renderer]:
    """A loaded pipeline whose schema and template are sound, and whose provider has what it asks for.

    Raises PipelineError, UsageError.
    """
    from llmbatch.pipeline import load
    from llmbatch.providers import capabilities
    from llmbatch.render import Renderer
    from llmbatch.validate import check_schema

    pipeline = load(folder, overrides=overrides, use_hooks=use_hooks)
    if prices is not None:
        pipeline = pipeline.with_prices(prices)
    try:
        check_schema(pipeline.schema)
    except ValueError as error:
        raise PipelineError(f"{folder / 'schema.json'}: {error}") from None
    capabilities.refuse(pipeline.settings)
    return pipeline, Renderer(pipeline)


def _climbing(pipeline: Pipeline) -> str:
    """When a row goes on to the next model of the ladder."""
    told = pipeline.settings.quality.graders.items()
    low = [f"{name} is below {one.climb_below:g}" for name, one in told if one.climb_below is not None]
    return f"a row climbs when its answer stays invalid, is refused{''.join(f', or {words}' for words in low)}"


def _rendered(pipeline: Pipeline, renderer: Renderer, row: Row, *, real: bool) -> Request:
    """The row's request. Of a real row's fault only is said what cannot quote the row. Raises PipelineError."""
    from llmbatch.render import RenderError

    try:
        return renderer.request(renderer.fit(row))
    except RenderError as error:
        where, _, words = str(error).partition(": ")
        if error.failure != "render":
            raise InputError(f"{row.place}: {error}") from None
        hint = "a column that a row may lack is written {{ row.name|default('') }}"
        if real and not words.startswith("undefined value"):
            words, hint = "the template fails", "`llmbatch check` without --input says more, of a made-up row"
        raise PipelineError(f"{pipeline.folder / where}, for {row.place}: {words}", hint=hint) from None


def _first_row(name: str) -> Row:
    from tempfile import TemporaryDirectory

    from llmbatch.source import open_source

    with TemporaryDirectory() as spool, open_source([name], Path(spool)) as source:
        for row in source.rows():
            return row
    raise InputError(f"{name} has no rows")


def _made_up(pipeline: Pipeline, renderer: Renderer) -> Row:
    """A row that has every column the template names, filled with the columns' names."""
    from llmbatch.types import Row

    names = {*renderer.variables(), *pipeline.settings.input.require} - {"row"}
    columns: dict[str, Any] = {name: f"({name})" for name in sorted(names)}
    return Row(0, columns, "(made-up row)", 1)
