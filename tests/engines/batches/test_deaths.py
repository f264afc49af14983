"""A run that dies at any step of handing in and fetching: nothing is asked twice or lost, and the bill is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmbatch.engines.batch_api import steps
from llmbatch.errors import Transient
from llmbatch.providers.batches import BatchDesk
from llmbatch.simulator import BatchFault, Simulator
from llmbatch.types import Status
from tests.engines.batches.nights import TEXTS, BatchNights, numbered, scenario


class Dead(BaseException):
    """In the place of a kill: nothing of llmbatch takes it for a fault."""


def die_at(monkeypatch: pytest.MonkeyPatch, step: str, nth: int = 1) -> None:
    seen = []

    def passed(name: str) -> None:
        assert name in steps.STEPS
        if name == step:
            seen.append(name)
            if len(seen) == nth:
                raise Dead

    monkeypatch.setattr(steps, "passed", passed)


async def whole_after(nights: BatchNights, server: Simulator, twice: int = 0) -> None:
    """The next run finishes, and everything was asked and paid for once."""
    night = await nights.run(numbered(TEXTS))
    assert sum(night.statuses().values()) == len(TEXTS), night.halt.reason
    assert night.tally.rows[Status.FAILED] == 0
    billed, spent = await nights.billed(), await nights.spent()
    assert (server.account.in_two_live_batches, server.account.total.paid) == (0, len(TEXTS))
    assert set(nights.paid().values()) == {1}
    assert billed == spent > 0
    left = [file.name for file in server.batches.store.files.values() if file.name.startswith("llmbatch-")]
    assert left == []
    assert [*nights.folder.glob("*.jsonl")] == []


@pytest.mark.slow
@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("step", steps.STEPS)
async def test_it_dies_at_a_step(step: str, nth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Simulator(scenario(list_lag_s=200)) as server:  # 20 ms
        nights = BatchNights(tmp_path, server, batch={"requests": 20})
        with monkeypatch.context() as dying:
            die_at(dying, step, nth)
            with pytest.raises(Dead):
                await nights.run(numbered(TEXTS))
        await whole_after(nights, server)


@pytest.mark.slow
async def test_it_dies_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Simulator(scenario(list_lag_s=200)) as server:
        nights = BatchNights(tmp_path, server, batch={"requests": 20})
        for step in steps.STEPS:
            with monkeypatch.context() as dying:
                die_at(dying, step)
                try:
                    await nights.run(numbered(TEXTS))
                except Dead:
                    continue
        await whole_after(nights, server)


@pytest.mark.parametrize("arrived", [True, False])
async def test_an_answer_to_a_creation_that_is_lost(
    arrived: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[str] = []
    create = BatchDesk.create

    async def losing(desk: BatchDesk, file_id: str, *args: Any) -> Any:
        if len(lost) < 2:
            lost.append(file_id)
            if arrived:
                await create(desk, file_id, *args)
            raise Transient("connection lost", possibly_paid=True)
        return await create(desk, file_id, *args)

    monkeypatch.setattr(BatchDesk, "create", losing)
    async with Simulator(scenario(list_lag_s=200)) as server:
        nights = BatchNights(tmp_path, server, batch={"requests": 20})
        await whole_after(nights, server)
        assert len(lost) == 2
        assert len(nights.sizes()) == 2


@pytest.mark.slow
async def test_a_creation_that_did_not_leave_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create, faults = BatchDesk.create, [Transient("cannot connect", failure="connection") for _ in range(2)]

    async def failing(desk: BatchDesk, *args: Any) -> Any:
        if faults:
            raise faults.pop()
        return await create(desk, *args)

    monkeypatch.setattr(BatchDesk, "create", failing)
    async with Simulator(scenario()) as server:
        nights = BatchNights(tmp_path, server)
        await whole_after(nights, server)
        assert nights.sizes() == [len(TEXTS)]


@pytest.mark.slow
async def test_an_upload_and_a_download_that_break_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upload, lines = BatchDesk.upload, BatchDesk.lines
    broken: list[str] = []

    async def uploading(desk: BatchDesk, *args: Any) -> Any:
        file_id = await upload(desk, *args)
        if "upload" not in broken:
            broken.append("upload")
            raise Transient("connection lost", possibly_paid=True)
        return file_id

    async def reading(desk: BatchDesk, file_id: str) -> Any:
        async for n, line in _numbered(lines(desk, file_id)):
            if n == 7 and "lines" not in broken:
                broken.append("lines")
                raise Transient("connection lost")
            yield line

    monkeypatch.setattr(BatchDesk, "upload", uploading)
    monkeypatch.setattr(BatchDesk, "lines", reading)
    async with Simulator(scenario()) as server:
        nights = BatchNights(tmp_path, server)
        await whole_after(nights, server)
        assert broken == ["upload", "lines"]


async def _numbered(lines: Any) -> Any:
    n = 0
    async for line in lines:
        yield n, line
        n += 1


@pytest.mark.slow
async def test_a_batch_that_is_gone_is_asked_again(tmp_path: Path) -> None:
    async with Simulator(scenario(BatchFault(kind="never", nth=1), window_s=500)) as server:
        nights = BatchNights(tmp_path, server)
        await nights.run(numbered(TEXTS), detach=True)
        server.batches.batches.clear()
        night = await nights.run(numbered(TEXTS))
        assert sum(night.statuses().values()) == len(TEXTS)
        assert "is gone at the provider" in " ".join(night.tally.notes)
