"""A worker in the test's own process: everything of a cluster but Ray, so that it can be lost at any moment."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Awaitable
from typing import Any, TypeVar

from llmbatch.engines.ray import Gone
from llmbatch.engines.ray.messages import Greeting, Heard, Kit, ToWorker
from llmbatch.engines.ray.worker import Worker

T = TypeVar("T")


class NearLink:
    """Messages go through pickle, as they do on a cluster."""

    def __init__(self) -> None:
        self.worker = Worker()
        self.told: list[ToWorker] = []
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self, kit: Kit) -> Greeting:
        return await self._reached(self.worker.open(_sent(kit)))

    async def tell(self, messages: list[ToWorker]) -> None:
        self.told += messages
        await self._reached(self.worker.tell(_sent(messages)))

    async def hear(self) -> Heard:
        return _sent(await self._reached(self.worker.hear()))  # type: ignore[no-any-return]

    def kill(self) -> None:
        """The worker's calls end as those of a killed process do: nobody hears of them."""
        if not self._gone.done():
            self._gone.set_result(None)
            for task in self.worker._tasks:
                task.cancel()
            if hasattr(self.worker, "_provider"):
                self._closing = asyncio.ensure_future(self.worker._provider.close())

    async def _reached(self, answer: Awaitable[T]) -> T:
        task = asyncio.ensure_future(answer)
        await asyncio.wait((task, self._gone), return_when=asyncio.FIRST_COMPLETED)
        if self._gone.done():
            task.cancel()
            raise Gone("killed")
        return task.result()


def _sent(message: Any) -> Any:
    return pickle.loads(pickle.dumps(message))
