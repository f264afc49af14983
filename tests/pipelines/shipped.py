"""What the tests of the shipped pipelines share: a pipeline, its rows, and the way of a row without a run."""

from pathlib import Path
from typing import Any

from llmbatch.pipeline import Pipeline, load
from llmbatch.providers.offline import Offline
from llmbatch.render import Renderer
from llmbatch.types import Row, Verdict
from llmbatch.validate import Judge

ROOT = Path(__file__).parents[2]


def pipeline(name: str) -> Pipeline:
    return load(ROOT / "pipelines" / name)


def render(name: str, columns: dict[str, Any]) -> str:
    return Renderer(pipeline(name)).request(Row(0, columns, "rows.jsonl", 1)).messages[-1]["content"]


async def judged(name: str, rows: list[dict[str, Any]]) -> list[Verdict]:
    """The verdicts on the offline provider's first answers."""
    used, offline = pipeline(name), Offline()
    renderer, judge = Renderer(used), Judge(used.schema, used.check)
    verdicts = []
    for number, columns in enumerate(rows):
        row = Row(number, columns, "rows.jsonl", number + 1)
        verdicts.append(judge.judge(row, await offline.call(renderer.request(row))))
    return verdicts
