"""A burst goes on a few at a time, in order."""

import asyncio

from llmbatch.turns import Turns


async def _went(turns: Turns, count: int) -> list[list[int]]:
    """Which of so many that came at once went on in which turn of the loop."""
    went: list[list[int]] = [[]]

    async def one(n: int) -> None:
        await turns.take()
        went[-1].append(n)

    tasks = [asyncio.create_task(one(n)) for n in range(count)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        went.append([])
    return [turn for turn in went if turn]


async def test_a_burst_goes_on_in_order_a_few_each_turn() -> None:
    went = await _went(Turns(4), 19)
    assert [n for turn in went for n in turn] == list(range(19))
    assert max(map(len, went)) == 4
    assert len(went) == 5


async def test_few_wait_for_nobody() -> None:
    turns = Turns(4)
    for _ in range(3):
        assert await _went(turns, 3) == [[0, 1, 2]]
        await asyncio.sleep(0)


async def test_who_is_cancelled_takes_nobodys_turn() -> None:
    turns = Turns(1)
    first, second, third = (asyncio.ensure_future(turns.take()) for _ in range(3))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait_for(asyncio.gather(first, third), 5)
    assert second.cancelled()
