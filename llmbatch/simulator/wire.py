"""How an answer goes over the wire: whole, slowly, in part or not at all."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web

from llmbatch.simulator.scenario import Fault
from llmbatch.types import Usage

_TICK_S = 0.1
_MISSING_BYTES = 64  #: by which a wrong length is too large

#: Kinds of fault after which the client does not have the whole answer.
LOSING = frozenset({"reset_mid", "reset_after_execution", "wrong_length"})
_ALTERED = LOSING | {"slow_body"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server says to a request."""

    status: int
    body: bytes
    reason: str | None = None  #: kind of fault, or an own_ reason
    usage: Usage | None = None  #: what is billed
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def gone(request: web.BaseRequest) -> bool:
    """Whether the client has left."""
    return request.transport is None or request.transport.is_closing()


async def stay(request: web.BaseRequest, closing: asyncio.Event, seconds: float | None) -> bool:
    """Stay silent for a time (None: for ever), the client's stay or the server's life; True if the time ran out."""
    loop = asyncio.get_running_loop()
    end = math.inf if seconds is None else loop.time() + seconds
    while not closing.is_set() and not gone(request):
        if (left := end - loop.time()) <= 0:
            return True
        try:
            await asyncio.wait_for(closing.wait(), min(_TICK_S, left))
        except TimeoutError:
            continue
    return False


async def send(
    request: web.BaseRequest, answer: Answer, fault: Fault | None, closing: asyncio.Event
) -> web.StreamResponse:
    """Send as the fault wants it."""
    if fault is None or fault.kind not in _ALTERED:
        return web.Response(
            status=answer.status, body=answer.body, content_type=answer.content_type, headers=answer.headers
        )
    if fault.kind == "reset_after_execution":
        return reset(request)
    try:
        return await _in_part(request, answer, fault, closing)
    except ConnectionError:  # the client left first
        return reset(request)


async def _in_part(
    request: web.BaseRequest, answer: Answer, fault: Fault, closing: asyncio.Event
) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_type = answer.content_type
    response.content_length = len(answer.body) + (_MISSING_BYTES if fault.kind == "wrong_length" else 0)
    await response.prepare(request)
    if fault.kind == "slow_body":
        step = max(1, round(fault.bytes_per_s * _TICK_S))
        for start in range(0, len(answer.body), step):
            await response.write(answer.body[start : start + step])
            if not await stay(request, closing, step / fault.bytes_per_s):
                return reset(request)
        return response
    await response.write(answer.body[: len(answer.body) // 2] if fault.kind == "reset_mid" else answer.body)
    if fault.kind == "reset_mid":
        await asyncio.sleep(_TICK_S / 10)  # lets the first half leave before the reset overtakes it
        return reset(request)
    assert request.transport is not None
    request.transport.close()
    return response


def reset(request: web.BaseRequest) -> web.StreamResponse:
    """Reset the connection. The response returned is for aiohttp, and goes nowhere."""
    if request.transport is not None:
        if (sock := request.transport.get_extra_info("socket")) is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()
