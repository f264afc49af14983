"""A server that is never the bottleneck: answers every chat completion after a fixed time, about 15 us of CPU each::

    python -m tests.bench.fast PORT LATENCY_MS

The answer is a JSON object of about 100 bytes in a body of about 500, as a small model's would be.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import orjson
import uvloop

_LENGTH = b"content-length:"


def _answer() -> bytes:
    content = orjson.dumps(
        {"label": "billing", "confidence": 0.9, "summary": "The customer asks about an invoice."}
    ).decode()
    message: dict[str, object] = {"role": "assistant", "content": content, "refusal": None, "annotations": []}
    body = orjson.dumps(
        {
            "id": "chatcmpl-bench",
            "object": "chat.completion",
            "created": 1_790_000_000,
            "model": "m-1",
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": {
                "prompt_tokens": 250,
                "completion_tokens": 30,
                "total_tokens": 280,
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            },
            "service_tier": "default",
        }
    )
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class _Connection(asyncio.Protocol):
    """One keep-alive connection: a request is whole when its Content-Length has come."""

    def __init__(self, latency_s: float, answer: bytes) -> None:
        self._latency_s, self._answer = latency_s, answer
        self._read = bytearray()
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is no subclass

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._read[:end]).lower()
            at = head.find(_LENGTH)
            size = int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._read) < end + 4 + size:
                return
            del self._read[: end + 4 + size]
            self._loop.call_later(self._latency_s, self._transport.write, self._answer)


async def _serve(port: int, latency_s: float) -> None:
    answer = _answer()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(latency_s, answer), "127.0.0.1", port)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), float(sys.argv[2]) / 1e3))
