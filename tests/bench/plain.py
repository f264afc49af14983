"""The loop that everybody writes first: ``AsyncOpenAI`` with its own default retries, and a semaphore::

    python -m tests.bench.plain BASE_URL ROWS.jsonl SCHEMA.json CONCURRENCY

Prints ``{"done": rows, "lost": rows, "p50_s": median latency of a row's call, retries included}``.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import openai


async def _all(base_url: str, rows: list[dict[str, Any]], schema: dict[str, Any], concurrency: int) -> dict[str, Any]:
    client = openai.AsyncOpenAI(api_key="no-key", base_url=base_url)
    slots = asyncio.Semaphore(concurrency)
    latencies: list[float] = []

    async def ask(row: dict[str, Any]) -> bool:
        async with slots:
            started = time.monotonic()
            try:
                answer = await client.chat.completions.create(
                    model="m-1",
                    messages=[{"role": "user", "content": f"Summarise: {row['text']}"}],
                    response_format={"type": "json_schema", "json_schema": {"name": "output", "schema": schema}},
                    max_completion_tokens=200,
                )
                json.loads(answer.choices[0].message.content or "")
            except (openai.OpenAIError, ValueError):
                return False
            latencies.append(time.monotonic() - started)
            return True

    answered = sum(await asyncio.gather(*map(ask, rows)))
    await client.close()
    return {
        "done": answered,
        "lost": len(rows) - answered,
        "p50_s": median(latencies) if latencies else None,
    }


def main() -> None:
    """Ask for every row once."""
    base_url, rows_file, schema_file, concurrency = sys.argv[1:]
    rows = [json.loads(line) for line in Path(rows_file).read_text(encoding="utf-8").splitlines()]
    schema = json.loads(Path(schema_file).read_text(encoding="utf-8"))
    print(json.dumps(asyncio.run(_all(base_url, rows, schema, int(concurrency)))))


if __name__ == "__main__":
    main()
