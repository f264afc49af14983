"""What the pump knows of the queue."""

import asyncio

from llmbatch.intake.address import address_of
from llmbatch.intake.brokers import open_broker
from llmbatch.intake.message import Fate, Message, Queues, Settlement
from llmbatch.intake.pump import Pump


async def test_a_queue_is_not_quiet_when_a_message_has_just_gone_back() -> None:
    broker = open_broker(address_of("memory://pump"), Queues("rows", "dead"), lease_s=5.0, create=True)
    broker.send([("a", b"{}")])
    arrived: asyncio.Queue[list[Message]] = asyncio.Queue()
    pump = Pump(broker, arrived=arrived.put_nowait, note=print, failed=lambda _: None)
    pump.start(connected=True)
    try:
        async with asyncio.timeout(10):
            pump.target = 5
            (message,) = await arrived.get()
            while pump.quiet_since is None:
                await asyncio.sleep(0.01)
            pump.target = 0  # so that it does not look
            await pump.pause()
            await pump.settle([Settlement(message, Fate.AGAIN)])
            assert pump.quiet_since is None
    finally:
        await pump.close()


async def test_what_went_back_does_not_count_against_the_limit() -> None:
    broker = open_broker(address_of("memory://limit"), Queues("rows", "dead"), lease_s=5.0, create=True)
    broker.send([("a", b"{}")])
    arrived: asyncio.Queue[list[Message]] = asyncio.Queue()
    pump = Pump(broker, arrived=arrived.put_nowait, note=print, failed=lambda _: None, limit=1)
    pump.start(connected=True)
    try:
        async with asyncio.timeout(5):
            pump.target = 5
            (message,) = await arrived.get()
            await pump.settle([Settlement(message, Fate.BACK)])
            (again,) = await arrived.get()
            assert again.id == "a"
    finally:
        await pump.close()
