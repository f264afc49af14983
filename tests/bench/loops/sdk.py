"""A plain loop over ``AsyncOpenAI().chat.completions.create``, with nothing on: ROWS.jsonl BASE_URL IN_FLIGHT."""

import asyncio
import sys
from pathlib import Path

import orjson
from openai import AsyncOpenAI


async def main(path: str, url: str, in_flight: int) -> None:
    """Ask for every row once; keep nothing."""
    client = AsyncOpenAI(base_url=url, api_key="no-key", max_retries=0, timeout=600)
    gate = asyncio.Semaphore(in_flight)

    async def ask(line: bytes) -> None:
        async with gate:
            await client.chat.completions.create(
                model="m-1", messages=[{"role": "user", "content": orjson.loads(line)["text"]}]
            )

    with Path(path).open("rb") as file:
        await asyncio.gather(*(ask(line) for line in file))


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
