# mypy: ignore-errors
"""A plain loop over ``litellm.acompletion``, in its own environment: ROWS.jsonl BASE_URL IN_FLIGHT."""

import asyncio
import json
import os
import sys
from pathlib import Path

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it fetches one

import litellm


async def main(path: str, url: str, in_flight: int) -> None:
    """Ask for every row once; keep nothing."""
    litellm.suppress_debug_info = True
    gate = asyncio.Semaphore(in_flight)

    async def ask(line: bytes) -> None:
        async with gate:
            messages = [{"role": "user", "content": json.loads(line)["text"]}]
            await litellm.acompletion(
                model="openai/m-1", messages=messages, api_base=url, api_key="no-key", max_retries=0
            )

    with Path(path).open("rb") as file:
        await asyncio.gather(*(ask(line) for line in file))


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
