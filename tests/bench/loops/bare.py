"""A bare aiohttp loop, the floor: ROWS.jsonl BASE_URL IN_FLIGHT."""

import asyncio
import sys
from pathlib import Path

import aiohttp
import orjson


async def main(path: str, url: str, in_flight: int) -> None:
    """Ask for every row once; keep nothing."""
    gate = asyncio.Semaphore(in_flight)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(line: bytes) -> None:
            async with gate:
                body = {"model": "m-1", "messages": [{"role": "user", "content": orjson.loads(line)["text"]}]}
                async with session.post(url + "/chat/completions", data=orjson.dumps(body)) as response:
                    orjson.loads(await response.read())

        with Path(path).open("rb") as file:
            await asyncio.gather(*(ask(line) for line in file))


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
