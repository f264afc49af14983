"""The routes of /v1/files and /v1/batches."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import islice
from typing import Any

import orjson
from aiohttp import BodyPartReader, web

from llmbatch.simulator import refusals
from llmbatch.simulator.account import Account, Served
from llmbatch.simulator.batches.batch import Batch
from llmbatch.simulator.batches.rows import Ending, Line, Rows
from llmbatch.simulator.batches.store import Store, StoredFile
from llmbatch.simulator.batches.tables import Batches, BatchFault
from llmbatch.simulator.batches.timeline import Timeline, draw, over_quota
from llmbatch.simulator.wire import Answer

_MOST_LISTED = 100


class BatchApi:
    """Files and batches of one server. Batches move by the clock alone; an ended one is settled when somebody looks.

    Args:
        tables: the scenario's ``[batches]`` and ``[[batch]]``.
        rows: what answers them.
        account: what they are billed to.
        clock: the server's clock, in seconds.
        key_fits: whether a request may ask at all.
    """

    def __init__(
        self,
        tables: tuple[Batches, tuple[BatchFault, ...]],
        rows: Rows,
        account: Account,
        clock: Callable[[], float],
        key_fits: Callable[[web.Request], bool],
        *,
        seed: int,
    ) -> None:
        self._batches, self._faults = tables
        self._rows = rows
        self._account = account
        self._clock = clock
        self._key_fits = key_fits
        self._random = random.Random(f"{seed}:batches")
        self._began = clock()
        self.store = Store()
        self.batches: dict[str, Batch] = {}  #: by id, in the order of creation

    def routes(self) -> list[web.RouteDef]:
        """What the server adds to its own."""
        pairs: Iterable[tuple[Callable[..., Any], str, Callable[[web.Request], Any]]] = (
            (web.post, "/v1/files", self._upload),
            (web.get, "/v1/files", self._list_files),
            (web.get, "/v1/files/{id}", self._file),
            (web.get, "/v1/files/{id}/content", self._content),
            (web.delete, "/v1/files/{id}", self._delete),
            (web.post, "/v1/batches", self._create),
            (web.get, "/v1/batches", self._list),
            (web.get, "/v1/batches/{id}", self._retrieve),
            (web.post, "/v1/batches/{id}/cancel", self._cancel),
        )
        return [route(path, self._checked(handler)) for route, path, handler in pairs]

    async def settle(self) -> None:
        """Write the files of every batch that has ended, and bill its rows."""
        await self._settle(self._clock())

    async def _settle(self, now: float) -> None:
        for batch in list(self.batches.values()):
            await self._end(batch, now)

    def _checked(self, handler: Callable[[web.Request], Any]) -> Callable[[web.Request], Any]:
        async def answer(request: web.Request) -> web.StreamResponse:
            if not self._key_fits(request):
                return _refused(refusals.wrong_key())
            found: web.StreamResponse = await handler(request)
            return found

        return answer

    # --- files -------------------------------------------------------------------------------------------------

    async def _upload(self, request: web.Request) -> web.Response:
        reader = await request.multipart()
        purpose, stored = "", None
        async for part in reader:
            if isinstance(part, BodyPartReader) and part.name == "purpose":
                purpose = (await part.read()).decode()
            elif isinstance(part, BodyPartReader) and part.name == "file":
                stored = await self.store.put(part.filename or "file", purpose or "batch", _chunks(part), self._clock())
        if stored is None:
            return _refused(refusals.error(400, "'file' is a required property", param="file"))
        return web.json_response(stored.as_json())

    async def _list_files(self, request: web.Request) -> web.Response:
        purpose = request.query.get("purpose")
        found = [file for file in self.store.files.values() if purpose in (None, file.purpose)]
        newest = list(reversed(found)) if request.query.get("order", "desc") == "desc" else found
        return _page(request, [file.as_json() for file in newest])

    async def _file(self, request: web.Request) -> web.Response:
        stored = self.store.files.get(request.match_info["id"])
        return _missing("File", request) if stored is None else web.json_response(stored.as_json())

    async def _content(self, request: web.Request) -> web.StreamResponse:
        await self.settle()
        stored = self.store.files.get(request.match_info["id"])
        return _missing("File", request) if stored is None else web.FileResponse(stored.path)

    async def _delete(self, request: web.Request) -> web.Response:
        if not self.store.delete(request.match_info["id"]):
            return _missing("File", request)
        return web.json_response({"id": request.match_info["id"], "object": "file", "deleted": True})

    # --- batches -----------------------------------------------------------------------------------------------

    async def _create(self, request: web.Request) -> web.Response:
        try:
            body = orjson.loads(await request.read())
            file_id, endpoint, window = (body[name] for name in ("input_file_id", "endpoint", "completion_window"))
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return _refused(refusals.error(400, "input_file_id, endpoint and completion_window are required"))
        stored = self.store.files.get(file_id)
        if stored is None:
            return _refused(refusals.error(400, f"No such file: {file_id}", param="input_file_id"))
        now, nth = self._clock(), len(self.batches) + 1
        faults = tuple(fault for fault in self._faults if fault.nth in (None, nth))
        timeline = draw(self._batches, faults, now, self._random)
        problem, total, ids = self._validated(stored)
        tokens = stored.bytes // 4
        limit = self._batches.enqueued_tokens
        if problem is None and limit is not None and tokens + self._enqueued(now) > limit:
            problem = over_quota()
        if problem is not None:
            timeline = Timeline(now, timeline.begins_at, now, now, timeline.expires_at, problem)
        batch = Batch(
            f"batch_{nth:06}", nth, stored, endpoint, window, body.get("metadata"), faults, timeline, total, tokens, ids
        )
        if timeline.failure is None and ids is not None:
            for other in self.batches.values():
                if other.live(now) and other.timeline.failure is None:
                    self._account.in_two_live_batches += len(ids & (other.ids or frozenset()))
        self.batches[batch.id] = batch
        return web.json_response(batch.as_json(now))

    def _enqueued(self, now: float) -> int:
        return sum(b.tokens for b in self.batches.values() if b.timeline.failure is None and b.live(now))

    def _validated(self, stored: StoredFile) -> tuple[tuple[str, str] | None, int, frozenset[str] | None]:
        """What is wrong with a file, how many rows it has, and their custom_ids where details are kept."""
        ids: set[str] = set()
        total = 0
        with stored.path.open("rb") as file:
            for total, raw in enumerate(file, 1):
                try:
                    row = orjson.loads(raw)
                    custom_id = str(row["custom_id"])
                    sound = row["method"] == "POST" and isinstance(row["body"], dict) and custom_id not in ids
                except (orjson.JSONDecodeError, KeyError, TypeError):
                    sound, custom_id = False, ""
                if not sound:
                    return (
                        ("invalid_request", f"Line {total} is no request, or its custom_id stands twice."),
                        total,
                        None,
                    )
                if self._account.detail:
                    ids.add(custom_id)
        if not total or total > self._batches.requests or stored.bytes > self._batches.bytes:
            return ("invalid_file", f"The file has {total} requests and {stored.bytes} bytes."), total, None
        return None, total, frozenset(ids) if self._account.detail else None

    async def _list(self, request: web.Request) -> web.Response:
        if self._batches.list_ms:
            await asyncio.sleep(self._batches.list_ms / 1000)
        now = self._clock()
        await self._settle(now)
        shown = [b for b in self.batches.values() if now >= b.timeline.created_at + self._batches.list_lag_s]
        return _page(request, [batch.as_json(now) for batch in reversed(shown)])

    async def _retrieve(self, request: web.Request) -> web.Response:
        batch = self.batches.get(request.match_info["id"])
        if batch is None:
            return _missing("Batch", request)
        now = self._clock()  # once: a batch that ends between two looks would have ended without its files
        await self._end(batch, now)
        return web.json_response(batch.as_json(now))

    async def _cancel(self, request: web.Request) -> web.Response:
        batch = self.batches.get(request.match_info["id"])
        if batch is None:
            return _missing("Batch", request)
        now = self._clock()
        if not batch.live(now):
            status = batch.timeline.status(now)
            return _refused(refusals.error(409, f"Cannot cancel a batch with status '{status}'.", code="invalid_state"))
        batch.timeline = batch.timeline.cancel(now)
        return web.json_response(batch.as_json(now))

    async def _end(self, batch: Batch, now: float) -> None:
        async with batch.lock:
            if batch.settled or batch.live(now):
                return
            batch.settled = True
            if batch.timeline.failure is None:
                await self._write(batch, batch.timeline.ends_at)

    async def _write(self, batch: Batch, at: float) -> None:
        """The two files of an ended batch; a file without a line does not exist."""
        kinds = {fault.kind for fault in batch.faults}
        ending = Ending(batch.timeline.status(at), batch.nth, batch.faults, at - self._began)
        output, errors = self.store.place(), self.store.place()
        with output.open("wb") as done, errors.open("wb") as failed:
            lines = self._rows.lines(batch.input.path, batch.done(at), ending, unordered=self._batches.unordered)
            async for line in lines:
                self._bill(line, ending.at_s)
                batch.failed += line.failed and line.tried
                if line.raw is not None:
                    (failed if line.failed else done).write(line.raw)
            if "cut_line" in kinds and done.tell():
                done.truncate(done.tell() - 40)
        for path, name in ((output, "output"), (errors, "error")):
            if path.stat().st_size:
                kept = self.store.keep(path, f"{batch.id}_{name}.jsonl", "batch_output", at)
                setattr(batch, f"{name}_id", kept.id)
                if f"no_{name}_file" in kinds:
                    self.store.delete(kept.id)

    def _bill(self, line: Line, at_s: float) -> None:
        if line.asked is None:
            return
        self._account.add(
            Served(
                at_s=at_s,
                user_hash=line.asked.user_hash,
                key=line.asked.key if self._account.detail else None,
                model=line.asked.model,
                status=200 if line.usage else 400,
                fault=None,
                usage=line.usage,
                delivered=line.raw is not None,
                tier="batch",
            )
        )


async def _chunks(part: BodyPartReader) -> AsyncIterator[bytes]:
    while chunk := await part.read_chunk(1 << 16):
        yield bytes(chunk)


def _page(request: web.Request, newest: list[dict[str, Any]]) -> web.Response:
    """One page of a list, from after the object that the client names."""
    limit = min(int(request.query.get("limit", 20)), _MOST_LISTED)
    after = request.query.get("after")
    rest: Iterable[dict[str, Any]] = newest
    if after is not None:
        ids = [found["id"] for found in newest]
        rest = newest[ids.index(after) + 1 :] if after in ids else []
    page = list(islice(rest, limit + 1))
    more, page = len(page) > limit, page[:limit]
    ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": None, "last_id": None}
    return web.json_response({"object": "list", "data": page, "has_more": more, **ends})


def _missing(what: str, request: web.Request) -> web.Response:
    return _refused(refusals.error(404, f"No such {what} object: {request.match_info['id']}", param="id"))


def _refused(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, body=answer.body, content_type=answer.content_type)
