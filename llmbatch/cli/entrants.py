"""Who takes part in a comparison: the pipeline with each model and prompt, checked before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import orjson

from llmbatch.candidates import Goal
from llmbatch.cli import beside, quality
from llmbatch.cli.make import usable
from llmbatch.cli.order import Order
from llmbatch.cli.wiring import prices_of
from llmbatch.errors import PipelineError, UsageError
from llmbatch.pipeline import Pipeline, nearest
from llmbatch.render import Renderer
from llmbatch.settings import ASKING, LADDER_SIGN
from llmbatch.types import Usage


@dataclass(frozen=True, slots=True)
class Entrant:
    """A candidate before it is asked."""

    name: str
    prompt: str  #: file name
    pipeline: Pipeline
    renderer: Renderer

    def within(self, spent: Decimal) -> Pipeline:
        """The pipeline with what those before it left of the budget."""
        budget = self.pipeline.settings.limits.budget_usd
        return beside.within(self.pipeline, None if budget is None else max(Decimal(0), budget - spent))


def enter(order: Order, models: Sequence[str], prompts: Sequence[str]) -> tuple[str, tuple[Entrant, ...]]:
    """The tier whose price decides, and a candidate for each model and prompt. Raises UserError.

    Batches take up to a day, so that a pipeline with tier "batch" is compared by calls, and judged by its own price.
    """
    plain, _ = usable(order.pipeline, order.overrides, prices=order.prices)
    tier = plain.settings.limits.tier
    overrides = (*order.overrides, *(["limits.tier=standard"] if tier == "batch" else []))
    found = []
    for model in models or (plain.settings.request.asked,):
        whole, _ = usable(order.pipeline, (*overrides, *_asking(model)), prices=order.prices)
        for prompt in prompts or ("prompt.j2",):
            pipeline = whole.with_prompt(prompt_file(order.pipeline, prompt)) if prompts else whole
            renderer = Renderer(pipeline)
            quality.ready(pipeline, renderer)  # or this prompt shows the model what is right
            name = f"{model} {prompt}" if len(prompts) > 1 else model
            found.append(Entrant(name, prompt, pipeline, renderer))
    _refuse_twins(found)
    return tier, tuple(found)


def _asking(model: str) -> tuple[str, ...]:
    """What --set would say to ask a model, or a ladder of them: ``small>large``."""
    first, *above = (name.strip() for name in model.split(LADDER_SIGN))
    ladder = (f"request.ladder={orjson.dumps([first, *above]).decode()}",) if above else ()
    return (f"request.model={first}", *ladder)


def prompt_file(folder: Path, name: str) -> Path:
    """A prompt by its path, or by its name within the pipeline's folder."""
    path = Path(name)
    return path if path.exists() else folder / name


def _refuse_twins(found: Sequence[Entrant]) -> None:
    names: dict[str, str] = {}
    for entrant in found:
        version = entrant.pipeline.version
        if version in names:
            model = entrant.pipeline.settings.request.asked
            raise UsageError(
                f"{names[version]!r} and {entrant.name!r} would send the same requests to {model}",
                hint="the offline provider is one model, whatever it is called; else name each candidate once",
            )
        names[version] = entrant.name


def deciding(pipeline: Pipeline, wanted: str | None) -> str:
    """The grader that decides: the one named, else the first. Raises PipelineError, UsageError."""
    told = pipeline.settings.quality.graders
    names = [name for name, grader in told.items() if grader.kind not in ASKING]
    if wanted in told and wanted not in names:
        raise UsageError(
            f"grader {wanted!r} is asked of another model, and compare asks none",
            hint="`llmbatch grade` with --ask asks it about a run; --against compares two runs",
        )
    if not names:
        raise PipelineError(
            f"{pipeline.folder / 'pipeline.toml'} names no grader, so there is nothing to compare candidates by",
            hint='add for instance [quality.graders.right] with kind = "exact", field (of the answer), gold (the column'
            " of the input with what is right); some kinds need no gold: docs/pipelines.md",
        )
    if wanted is None:
        return names[0]
    if wanted not in names:
        near = nearest(wanted, names)
        raise UsageError(f"--grader {wanted!r} is no grader", hint=f"did you mean {near!r}?" if near else None)
    return wanted


def refuse_unpriced(found: Sequence[Entrant], tier: str, goal: Goal) -> None:
    """Raise UsageError where the cheapest is wanted and a price is unknown."""
    if goal.min_quality is None and goal.max_cost is None:
        return
    for entrant in found:
        prices = prices_of(entrant.pipeline)
        for model in entrant.pipeline.settings.request.models:
            if prices.usd_per_hour(model) is None and prices.cost(Usage(1, 1), model, tier) is None:
                at = "" if tier == "standard" else f" at tier {tier}"
                raise UsageError(
                    f"no price is known for {model!r}{at}, so it cannot be told which candidate is cheaper",
                    hint=f"add [prices.{model!r}] with input and output (dollars per million tokens) to pipeline.toml"
                    " or to a file that --prices names",
                )
