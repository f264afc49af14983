"""The way between driver and worker, whatever carries it."""

from __future__ import annotations

from typing import Protocol

from llmbatch.engines.ray.messages import Greeting, Heard, Kit, ToWorker


class Gone(Exception):
    """A worker, or the machine it was on, is no more."""


class Link(Protocol):
    """The driver's end. Every method raises Gone once the worker is no more."""

    async def open(self, kit: Kit) -> Greeting:
        """Begin; may wait for room on the cluster."""

    async def tell(self, messages: list[ToWorker]) -> None:
        """Tell, in this order. One at a time."""

    async def hear(self) -> Heard:
        """Wait until the worker has something to say, or for a while. One at a time."""

    def kill(self) -> None:
        """End the worker now."""
