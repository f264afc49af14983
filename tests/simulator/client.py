"""A plain client: what the wire carries, with nothing between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from llmbatch.simulator import Fault, Scenario, Simulator

SCHEMA = {
    "type": "object",
    "properties": {
        "summary": {"type": "string", "minLength": 3, "maxLength": 40},
        "tags": {"type": "array", "items": {"enum": ["billing", "outage"]}, "minItems": 1},
    },
    "required": ["summary", "tags"],
    "additionalProperties": False,
}
STRICT = {"type": "json_schema", "json_schema": {"name": "output", "strict": True, "schema": SCHEMA}}


@dataclass(frozen=True)
class Got:
    """An answer, or the name of the error in its place."""

    status: int | None
    raw: bytes
    headers: dict[str, str]
    error: str | None = None

    @property
    def body(self) -> Any:
        return orjson.loads(self.raw)

    @property
    def choice(self) -> Any:
        return self.body["choices"][0]

    @property
    def text(self) -> Any:
        return self.choice["message"]["content"]


def body(user: str = "The invoice is wrong.", **fields: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": "Summarise."}, {"role": "user", "content": user}]
    return {"model": "simulated-1", "messages": messages, "response_format": STRICT, **fields}


class Client:
    """Asks one server."""

    def __init__(self, server: Simulator, session: aiohttp.ClientSession) -> None:
        self.server = server
        self._session = session

    async def post(
        self,
        content: bytes | dict[str, Any],
        key: str = "sk-test",
        timeout_s: float = 5.0,
        to: str = "chat/completions",
    ) -> Got:
        data = content if isinstance(content, bytes) else orjson.dumps(content)
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        try:
            async with self._session.post(
                f"{self.server.base_url}/{to}",
                data=data,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                allow_redirects=False,
            ) as answer:
                shown = {name.lower(): value for name, value in answer.headers.items()}
                return Got(answer.status, await answer.read(), shown)
        except (aiohttp.ClientError, TimeoutError) as error:
            return Got(None, b"", {}, type(error).__name__)

    async def ask(self, user: str = "The invoice is wrong.", timeout_s: float = 5.0, **fields: Any) -> Got:
        return await self.post(body(user, **fields), timeout_s=timeout_s)

    async def ask_all(self, users: Sequence[str], **fields: Any) -> list[Got]:
        return await asyncio.gather(*(self.ask(user, **fields) for user in users))

    async def get(self, path: str) -> Any:
        root = self.server.base_url.removesuffix("/v1")
        async with self._session.get(root + path) as answer:
            return orjson.loads(await answer.read())


@asynccontextmanager
async def serving(scenario: Scenario | None = None, *faults: Fault, **options: Any) -> AsyncIterator[Client]:
    scenario = scenario or Scenario(fault=faults)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with Simulator(scenario, **options) as server, aiohttp.ClientSession(connector=connector) as session:
        yield Client(server, session)
