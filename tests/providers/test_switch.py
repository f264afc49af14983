"""The tier of the moment: who waits for flex, who goes another way, and that nobody is forgotten when it changes."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from llmbatch.errors import Unavailable
from llmbatch.providers.switch import Switch, Switched
from llmbatch.types import Reply, Request

REQUEST = Request("k", 0, "m", (), {}, {})
REPLY = Reply("{}", "x", "stop", None, None, "m", "flex")


class Server:
    """Refuses flex while it is busy; a call takes as long as it is held."""

    def __init__(self) -> None:
        self.busy = True
        self.asked: list[str | None] = []
        self.held = asyncio.Event()
        self.held.set()

    async def call(self, request: Request) -> Reply:
        self.asked.append(request.tier)
        await self.held.wait()
        if request.tier == "flex" and self.busy:
            raise Unavailable("no capacity")
        return replace(REPLY, tier=request.tier)

    async def close(self) -> None: ...


async def test_it_asks_at_the_tier_of_the_moment() -> None:
    server, switch = Server(), Switch()
    asked = Switched(server, switch)
    assert (await asked.call(REQUEST)).tier is None
    server.busy = False
    switch.go(flex=True, fallback=False)
    assert (await asked.call(REQUEST)).tier == "flex"
    assert (switch.answered, switch.refused) == (1, 0)


async def test_a_refused_row_that_may_not_wait_stands_in_line_anew_and_goes_at_standard() -> None:
    server, switch = Server(), Switch()
    asked = Switched(server, switch)
    switch.go(flex=True, fallback=True)
    with pytest.raises(Unavailable) as refused:
        await asked.call(REQUEST)
    assert not refused.value.sent
    assert (await asked.call(REQUEST)).tier is None
    assert server.asked == ["flex", None]


@pytest.mark.parametrize("held", [True, False], ids=["during a call", "between calls"])
@pytest.mark.parametrize("change", ["end", "standard"])
async def test_who_waits_for_flex_is_woken_by_a_change(held: bool, change: str) -> None:
    server, switch = Server(), Switch()
    switch.go(flex=True, fallback=False)
    if held:
        server.held.clear()
    waiting = asyncio.create_task(Switched(server, switch).call(REQUEST))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    if change == "end":
        switch.end()
    else:
        switch.go(flex=False, fallback=False)
    server.held.set()
    with pytest.raises(Unavailable) as given_up:
        await asyncio.wait_for(waiting, 1)
    assert not given_up.value.sent
