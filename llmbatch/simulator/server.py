"""The simulated server: OpenAI's chat completions over HTTP, with a scenario's latency, limits and faults."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType

import orjson
from aiohttp import web

from llmbatch.simulator import completion, embeddings, refusals, wire
from llmbatch.simulator.account import Account, Served
from llmbatch.simulator.asked import Asked, read
from llmbatch.simulator.batches.api import BatchApi
from llmbatch.simulator.batches.rows import Rows
from llmbatch.simulator.buckets import Buckets
from llmbatch.simulator.form import BadRequest
from llmbatch.simulator.models import Playing, playing
from llmbatch.simulator.plan import Plan
from llmbatch.simulator.scenario import Fault, Scenario
from llmbatch.simulator.slots import QueueFull, Slots
from llmbatch.simulator.spoil import BODIES, TEXTS
from llmbatch.simulator.wire import Answer
from llmbatch.types import Usage

_LARGEST_REQUEST = 64 * 2**20  #: bytes
_SHUTDOWN_S = 0.5  #: what is still being answered gets so long when the server closes


class Simulator:
    """The server, for use inside a process::

        async with Simulator(load_scenario("bad-night")) as server:
            ...  # server.base_url, server.account

    Args:
        scenario: how it behaves.
        host: interface to listen on.
        port: 0 takes a free one.
        detail: keep every request in the account; False keeps sums only (and, where the scenario has faults, a count
            for each distinct user message).
        clock: seconds that never go back, for fault windows and limits. Waiting is done in real time.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        detail: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.account = Account(detail)
        self._scenario = scenario
        self._host, self._port = host, port
        self._clock = clock
        self._first_at: float | None = None
        self._number = 0
        self._brain = playing(scenario)
        self._plan = Plan(scenario.seed, scenario.fault)
        self._began_at = clock()
        self._buckets: dict[str, Buckets] = {}  # by model, where each has its own; else under ""
        self._random = random.Random(scenario.seed)
        self._slots = Slots(scenario.server.slots, scenario.server.queue)
        self.batches = BatchApi(
            (scenario.batches, scenario.batch),
            Rows(self._brain, Plan(scenario.seed, scenario.fault), scenario.seed, scenario.server.cached_share),
            self.account,
            time_of_batches(clock, scenario.clock.speed),
            self._key_fits,
            seed=scenario.seed,
        )
        self._closing = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen. Raises OSError when the address is taken."""
        app = web.Application(client_max_size=_LARGEST_REQUEST)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._embed)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/account", self._show_account)
        app.router.add_routes(self.batches.routes())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port, backlog=4096).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close. Hangs and slow bodies end at once."""
        self._closing.set()
        if self._runner is not None:
            await self._runner.cleanup()
        self.batches.store.close()

    async def __aenter__(self) -> Simulator:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def base_url(self) -> str:
        """What a client is configured with: ``http://127.0.0.1:40123/v1``."""
        return f"http://{self._host}:{self._port}/v1"

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, read)

    async def _embed(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, embeddings.read)

    async def _serve(self, request: web.Request, read: Callable[[bytes], Asked]) -> web.StreamResponse:
        raw = await request.read()
        now = self._clock()
        if self._first_at is None:
            self._first_at = now
        at_s = now - self._first_at
        with self.account.flight():
            if not self._key_fits(request):
                return await self._close(request, at_s, refusals.wrong_key())
            try:
                asked = read(raw)
            except BadRequest as problem:
                return await self._close(request, at_s, refusals.bad_request(problem))
            prompt_tokens = completion.input_tokens(asked, self._brain)
            if refused := self._refusal(asked, prompt_tokens, now):
                return await self._close(request, at_s, refused, asked)
            fault = self._plan.fault(asked.user_hash, asked.user_text, at_s, lambda f: _applies(f, asked))
            try:
                answer = await self._answer(request, asked, prompt_tokens, fault)
            except QueueFull:
                return await self._close(request, at_s, refusals.queue_full(), asked)
            return await self._close(request, at_s, answer, asked, fault)

    def _refusal(self, asked: Asked, prompt_tokens: int, now: float) -> Answer | None:
        """What the server itself refuses: a model it does not serve, and what is over its limits."""
        models = self._scenario.server.models
        if models and asked.model not in models:
            return refusals.no_such_model(asked.model)
        if denied := self._limits(asked.model).take(prompt_tokens, now):
            return refusals.denied(denied, self._scenario.limits.retry_after_form)
        return None

    def _limits(self, model: str) -> Buckets:
        of = model if self._scenario.limits.per_model else ""
        return self._buckets.setdefault(of, Buckets(self._scenario.limits, self._began_at))

    def _key_fits(self, request: web.Request) -> bool:
        key = self._scenario.server.api_key
        return key is None or request.headers.get("Authorization") == f"Bearer {key}"

    async def _answer(
        self, request: web.Request, asked: Asked, prompt_tokens: int, fault: Fault | None
    ) -> Answer | None:
        """What is answered; None when the connection ends without a word. Raises QueueFull."""
        kind = fault.kind if fault else None
        if fault and kind in refusals.REFUSALS:
            return refusals.REFUSALS[fault.kind](fault, asked, request.headers.get("Authorization", ""))
        if kind == "reset_before":
            return None
        if fault and kind == "hang" and not await wire.stay(request, self._closing, fault.seconds):
            return None
        async with self._slots.place():
            return await self._execute(asked, prompt_tokens, fault)

    async def _execute(self, asked: Asked, prompt_tokens: int, fault: Fault | None) -> Answer:
        """Run the model: when it has run, the request is paid, whatever becomes of the answer."""
        if asked.response_format == embeddings.FORMAT:
            await self._work(0)
            return Answer(200, embeddings.body(asked, prompt_tokens), usage=Usage(input=prompt_tokens, output=0))
        text, tokens, finish_reason = completion.written(asked, fault, self._brain)
        await self._work(tokens)
        cached = int(prompt_tokens * self._scenario.server.cached_share)
        usage = Usage(input=prompt_tokens, output=tokens, cached=cached)
        self._limits(asked.model).settle(tokens)
        self._number += 1
        return Answer(
            200, completion.body(asked, fault, text, finish_reason, usage=usage, number=self._number), usage=usage
        )

    async def _work(self, tokens: int) -> None:
        """Take as long as execution does."""
        if delay := self._delay(tokens):
            await asyncio.sleep(delay)

    def _delay(self, tokens: int) -> float:
        """Seconds of execution. One stream of draws: the distribution repeats, not each request's latency."""
        latency = self._scenario.latency
        median = latency.median_ms * (self._random.lognormvariate(0, latency.sigma) if latency.sigma else 1)
        return (median + latency.per_output_token_ms * tokens) / 1000

    async def _close(
        self,
        request: web.Request,
        at_s: float,
        answer: Answer | None,
        asked: Asked | None = None,
        fault: Fault | None = None,
    ) -> web.StreamResponse:
        """Enter the request in the account, then send: whoever sees the answer sees the account with it."""
        kind = fault.kind if fault else None
        self.account.add(
            Served(
                at_s=at_s,
                user_hash=asked.user_hash if asked else None,
                key=asked.key if asked and self.account.detail else None,
                model=asked.model if asked else None,
                status=None if answer is None or kind == "reset_after_execution" else answer.status,
                fault=kind or (answer.reason if answer else None),
                usage=answer.usage if answer else None,
                delivered=answer is not None and kind not in wire.LOSING and not wire.gone(request),
                tier=completion.served_tier(asked) if asked else "default",
                played=self._brain.played(asked) if asked and isinstance(self._brain, Playing) else None,
            )
        )
        if answer is None:
            return wire.reset(request)
        if limits := self._limits(asked.model if asked else "").headers(self._clock()):
            answer = replace(answer, headers={**answer.headers, **limits})
        return await wire.send(request, answer, fault, self._closing)

    async def _models(self, request: web.Request) -> web.Response:
        if not self._key_fits(request):
            return _json(refusals.wrong_key())
        names = self._scenario.server.models or ("simulated-1",)
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "llmbatch"} for name in names]
        return _json(Answer(200, orjson.dumps({"object": "list", "data": models})))

    async def _show_account(self, _: web.Request) -> web.Response:
        await self.batches.settle()
        return _json(Answer(200, orjson.dumps(self.account.as_json())))


def time_of_batches(clock: Callable[[], float], speed: float) -> Callable[[], float]:
    """Seconds since the epoch as batches know them: they pass ``speed`` times as fast as real ones."""
    at, began = time.time(), clock()
    return lambda: at + (clock() - began) * speed


def _json(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, body=answer.body, content_type="application/json")


def _applies(fault: Fault, asked: Asked) -> bool:
    """Whether a fault means anything for this request."""
    if fault.kind == "structured_output_unsupported":
        return asked.response_format in fault.modes
    if asked.response_format == embeddings.FORMAT and (fault.kind in TEXTS or fault.kind in BODIES):
        return False  # it has no text to spoil
    if fault.kind == "flex_unavailable":
        return asked.tier == "flex"
    return fault.kind != "ignore_schema" or asked.response_format != "text"
