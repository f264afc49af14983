"""The choice of a comparison, written into the pipeline's folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from llmbatch.atomic import write_bytes
from llmbatch.candidates import Candidate, Comparison
from llmbatch.cli.entrants import prompt_file
from llmbatch.cli.order import Order
from llmbatch.errors import PipelineError, UsageError
from llmbatch.pipeline import load, with_choice
from llmbatch.settings import LADDER_SIGN


def refuse_to_write(order: Order, models: Sequence[str]) -> None:
    """Raise UsageError, before anything is sent, where the file could not say what was compared."""
    if any(LADDER_SIGN in model for model in models) or load(order.pipeline).settings.request.ladder:
        raise UsageError("--write writes one model, not a ladder", hint="set ladder in pipeline.toml yourself")
    for override in order.overrides:
        if override.startswith("request.") or override == "provider.kind=offline":
            raise UsageError(
                f"--write with {override!r}: pipeline.toml would not say what was compared",
                hint="set it in pipeline.toml first, or leave out --write",
            )


def write(order: Order, found: Comparison) -> Comparison:
    """Put model and certificate into pipeline.toml, and another prompt in place of prompt.j2, which is kept.

    Raises PipelineError, StorageError; then pipeline.toml is as it was.
    """
    chosen = next(one for one in found.candidates if one.name == found.named)
    path = order.pipeline / "pipeline.toml"
    text = with_choice(path.read_text(encoding="utf-8"), chosen.model, _certificate(found, chosen))
    notes = _take_prompt(order, chosen)
    _replace(path, text)
    if (version := load(order.pipeline).version) != chosen.prompt_version:
        raise PipelineError(f"{path} now makes prompt version {version}, and {chosen.prompt_version} was compared")
    return replace(found, written=str(path), notes=(*found.notes, *notes))


def _take_prompt(order: Order, chosen: Candidate) -> tuple[str, ...]:
    """prompt.j2 becomes the chosen prompt; the old one stays beside it under its version."""
    path = order.pipeline / "prompt.j2"
    now, new = path.read_text(encoding="utf-8"), prompt_file(order.pipeline, chosen.prompt).read_text(encoding="utf-8")
    if now == new:
        return ()
    kept = path.with_name(f"prompt.{load(order.pipeline).version}.j2")
    _replace(kept, now)
    _replace(path, new)
    return (f"prompt.j2 is now {chosen.prompt}; the one before is kept as {kept.name}",)


def _replace(path: Path, text: str) -> None:
    """Whole or not at all; who may read it stays as it was."""
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    write_bytes(path, text.encode(), mode=mode)


def _certificate(found: Comparison, chosen: Candidate) -> dict[str, str | int | float]:
    """What was found, when, on which rows: for a person, and for nothing else."""
    one = found.certificate(chosen.name)
    assert one is not None  # or it would not be named
    facts: dict[str, str | int | float] = {
        "model": chosen.model,
        "prompt_version": chosen.prompt_version,
        "at": found.at,
        "input": ", ".join(Path(name).name for name in found.input),
        "fingerprint": found.fingerprint,
        "seed": found.seed,
        "grader": found.grader,
        "rows": one.rows,
        "score": round(one.mean, 6),
        "at_least": round(one.lower, 6),
        "tier": found.tier,
    }
    if one.target is not None:
        facts["target"] = one.target
    if chosen.price is not None:
        facts["usd_per_1000"] = float(f"{chosen.price:.6g}")
    return facts
