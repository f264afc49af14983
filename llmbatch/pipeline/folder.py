"""A pipeline folder: pipeline.toml, prompt.j2, schema.json (or ``Output`` in hooks.py), optional hooks.py.

This is the only importer of a user's hooks.py, which is trusted code.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson

from llmbatch.errors import PipelineError
from llmbatch.pipeline import template, toml
from llmbatch.scrub import holds_key
from llmbatch.settings import RequestSettings, Settings
from llmbatch.types import Json

Check = Callable[[dict[str, Json], dict[str, Json]], list[str]]
Grade = Callable[[dict[str, Json], dict[str, Json]], float]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A loaded pipeline."""

    name: str  #: the folder's name
    folder: Path
    settings: Settings
    prompt: str  #: template of the user message
    schema: Mapping[str, Json]  #: JSON Schema of the output
    check: Check | None  #: ``check(output, row) -> problems`` from hooks.py
    hooks: str | None  #: source text of hooks.py
    version: str  #: the prompt version: hash of [request], prompt, schema and hooks
    grade: Grade | None = None  #: ``grade(output, row) -> score`` from hooks.py
    prices_from: str = "pipeline [prices]"  #: where settings.prices were written, for a person
    prompt_file: str = "prompt.j2"  #: in the folder

    def with_prices(self, path: Path) -> Pipeline:
        """The same pipeline with the prices of a file, which count before its own. Raises PipelineError."""
        own, found = self.settings.prices, toml.price_file(path)
        settings = self.settings.model_copy(update={"prices": {**own, **found}})
        return replace(self, settings=settings, prices_from=f"{path}{', pipeline [prices]' if own else ''}")

    def with_prompt(self, path: Path) -> Pipeline:
        """The same pipeline with another template. Raises PipelineError."""
        prompt = _read(path)
        template.refuse_unbounded(prompt, path)
        return replace(self, prompt=prompt, version=_version(self.settings.request, prompt, self.schema, self.hooks))

    def rung(self, model: str) -> Pipeline:
        """The pipeline that asks one model of the ladder alone: its requests have the same keys and version."""
        if not self.settings.request.ladder:
            return self
        request = self.settings.request.model_copy(update={"model": model, "ladder": ()})
        settings = self.settings.model_copy(update={"request": request})
        return replace(self, settings=settings, version=_version(request, self.prompt, self.schema, self.hooks))

    def rungs(self) -> tuple[tuple[str, str], ...]:
        """Each model of the ladder, with the prompt version of the requests to it; empty without a ladder."""
        return tuple((model, self.rung(model).version) for model in self.settings.request.ladder)

    def aside(self, settings: Settings, prompt: str, schema: Mapping[str, Json], file: str) -> Pipeline:
        """What a grader asks a model of its own: the same name and prices, another request. Raises PipelineError."""
        template.refuse_unbounded(prompt, self.folder / file)
        version = _version(settings.request, prompt, schema, None)
        return replace(
            self, settings=settings, prompt=prompt, schema=schema, check=None, grade=None, hooks=None, version=version,
            prompt_file=file,
        )  # fmt: skip

    def read(self, name: str) -> str:
        """The text of a file in the folder. Raises PipelineError."""
        return _read(self.folder / name)


def load(folder: Path, *, overrides: Sequence[str] = (), use_hooks: bool = True) -> Pipeline:
    """Read and check a pipeline folder.

    ``overrides`` are ``key=value`` texts as from --set, e.g. ``limits.concurrency=8``.
    Raises PipelineError naming the file, the line where it can, and how to mend it.
    """
    if not folder.is_dir():
        raise PipelineError(
            f"no pipeline folder at {folder}", hint=f"make one with `llmbatch init {folder}`, or check the path"
        )
    settings = toml.settings(_read(folder / "pipeline.toml"), folder / "pipeline.toml", overrides)
    prompt = _read(folder / "prompt.j2")
    template.refuse_unbounded(prompt, folder / "prompt.j2")
    hooks_file = folder / "hooks.py"
    hooks = _read_hooks(hooks_file) if hooks_file.exists() or hooks_file.is_symlink() else None
    module = _import_hooks(hooks_file) if hooks is not None and use_hooks else None
    schema = _schema(folder, module, left_out=hooks is not None and not use_hooks)
    return Pipeline(
        name=folder.resolve().name,
        folder=folder,
        settings=settings,
        prompt=prompt,
        schema=schema,
        check=_function(hooks_file, module, "check", "list[str]"),
        grade=_function(hooks_file, module, "grade", "float"),
        hooks=hooks,
        version=_version(settings.request, prompt, schema, hooks),
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PipelineError(
            f"{path} is missing", hint="a pipeline has pipeline.toml, prompt.j2 and schema.json; see `llmbatch init`"
        ) from None
    except UnicodeDecodeError as error:
        raise PipelineError(f"{path} is not UTF-8 (byte {error.start})", hint="save it as UTF-8") from None
    except OSError as error:
        raise PipelineError(f"cannot read {path}: {error.strerror}") from None


def _read_hooks(path: Path) -> str:
    """The text of hooks.py, which the ledger keeps."""
    text = _read(path)
    for number, line in enumerate(text.split("\n"), 1):
        if holds_key(line):
            raise PipelineError(f"{path}:{number}: holds an API key", hint="let hooks.py read it from the environment")
    return text


def _schema(folder: Path, module: ModuleType | None, *, left_out: bool) -> Mapping[str, Json]:
    path = folder / "schema.json"
    if path.exists():
        text = _read(path)
        try:
            schema = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise PipelineError(f"{path}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}") from None
        if not isinstance(schema, dict):
            raise PipelineError(f"{path}: a JSON Schema is an object", hint='begin with {"type": "object", ...}')
        return schema
    output = getattr(module, "Output", None)
    if output is None and left_out:
        raise PipelineError(
            f"{path} is missing, and hooks.py is left out", hint="write the output's JSON Schema into schema.json"
        )
    if output is None:
        raise PipelineError(
            f"{path} is missing, and hooks.py defines no Output", hint="write the output's JSON Schema into schema.json"
        )
    if not hasattr(output, "model_json_schema"):
        raise PipelineError(f"{folder / 'hooks.py'}: Output must be a pydantic model")
    authored: Mapping[str, Json] = output.model_json_schema()
    return authored


def _import_hooks(path: Path) -> ModuleType:
    if path.resolve().parent != path.parent.resolve():
        raise PipelineError(
            f"{path} is a link to {path.resolve()}; code is taken from the pipeline's own folder only",
            hint="copy the file into the folder",
        )
    name = f"llmbatch_hooks_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pydantic looks a class's module up when it resolves annotations
    wrote_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        frames = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == path.resolve()]
        line = (error.lineno if isinstance(error, SyntaxError) else frames[-1] if frames else None) or 1
        raise PipelineError(f"{path}:{line}: {type(error).__name__}: {error}", hint="mend hooks.py") from error
    finally:
        sys.dont_write_bytecode = wrote_bytecode
    return module


def _function(path: Path, module: ModuleType | None, name: str, returns: str) -> Any:
    """A function of hooks.py, or None; what it returns is checked at every call. Raises PipelineError."""
    found: Any = getattr(module, name, None)
    if found is not None and not callable(found):
        raise PipelineError(f"{path}: {name} must be a function: def {name}(output, row) -> {returns}")
    return found


def _version(request: RequestSettings, prompt: str, schema: Mapping[str, Json], hooks: str | None) -> str:
    parts = orjson.dumps([request.hashed(), prompt, schema, hooks], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(parts).hexdigest()[:12]
