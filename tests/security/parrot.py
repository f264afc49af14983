"""A server that repeats what it was sent, in every place an answer has."""

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(frozen=True)
class Heard:
    """One request as it came."""

    authorization: str
    user_message: str
    host: str


@dataclass(frozen=True)
class Said:
    """One answer."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


def completion(content: str, **more: Any) -> dict[str, Any]:
    """A chat completion's body."""
    return {
        "id": "x",
        "object": "chat.completion",
        "model": "m-1",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content, "refusal": None}}
        ],
        "usage": {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30},
        **more,
    }


class Parrot:
    """Answers on 127.0.0.1, and keeps what it heard."""

    def __init__(self, answer: Callable[[Heard], Said], tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.tls = tls
        self.heard: list[Heard] = []
        self.asked: list[str] = []  #: method and path of everything else
        self.base_url = ""

    async def start(self) -> None:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/chat/completions", self._handle)
        app.router.add_route("*", "/{anything:.*}", self._ask)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self.tls)
        await site.start()
        port = self._runner.addresses[0][1]
        self.base_url = f"http{'s' if self.tls else ''}://127.0.0.1:{port}/v1"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _ask(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path}")
        return web.Response(status=404)

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.json()
        heard = Heard(
            request.headers.get("Authorization", ""), str(body["messages"][-1]["content"]), request.headers["Host"]
        )
        self.heard.append(heard)
        said = self.answer(heard)
        if isinstance(said.body, bytes):
            return web.Response(status=said.status, body=said.body, headers=said.headers)
        return web.json_response(said.body, status=said.status, headers=said.headers)


@contextmanager
def parrot(answer: Callable[[Heard], Said], tls: ssl.SSLContext | None = None) -> Iterator[Parrot]:
    """The server in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = Parrot(answer, tls)
    asyncio.run_coroutine_threadsafe(server.start(), loop).result()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
