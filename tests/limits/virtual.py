"""Virtual time: an event loop whose clock jumps to the next timer, and a simulated server to call."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from llmbatch.limits import Gate, backoff

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Never sleeps: when nothing is ready, its clock is set to the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        selector: Any = self._selector  # type: ignore[attr-defined]
        select = selector.select

        def jump(timeout: float | None) -> Any:
            assert timeout is not None, "everyone waits for something that no timer will bring"
            self.now += max(1e-7, timeout)  # a turn of the loop takes time, too
            return select(0)

        selector.select = jump

    def time(self) -> float:
        return self.now


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


def clock() -> float:
    """The running loop's seconds."""
    return asyncio.get_running_loop().time()


@dataclass(frozen=True)
class Answer:
    outcome: str = "answered"
    latency_s: float = 0.0
    tokens: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    retry_after: float | None = None
    output_tokens: int | None = None


@dataclass
class Server:
    """A server with ``slots`` (a FIFO queue before them), ``per_minute`` requests, and faults by time.

    Its bucket of requests holds ``burst`` of them and starts full.
    """

    rng: random.Random
    slots: int = 10_000
    median_s: float = 0.5
    sigma: float = 0.0
    per_token_s: float = 0.0
    per_minute: float | None = None
    burst: float = 600
    says: str = (
        ""  #: "limit": x-ratelimit headers; "retry": Retry-After on a 429, of 1 s, or "exact": until there is room
    )
    fault: Callable[[float, int], str | None] = lambda at, row: None
    asked: list[float] = field(default_factory=list)  #: when each request came
    ended: list[tuple[float, str, float]] = field(default_factory=list)  #: when, outcome, latency
    fail_s: float = 0.01  #: what a refusal or a fault takes
    busy: int = 0
    _queue: deque[asyncio.Future[None]] = field(default_factory=deque)
    _level: float | None = None
    _at: float = 0.0

    async def call(self, row_no: int, output_tokens: int = 0) -> Answer:
        came = clock()
        self.asked.append(came)
        outcome = self.fault(came, row_no) or ("rate_limited" if self._refuses(came) else "answered")
        if outcome != "answered":
            await asyncio.sleep(60.0 if outcome == "timeout" else self.fail_s)
        else:
            await self._serve(output_tokens)
        took = clock() - came
        self.ended.append((clock(), outcome, took))
        retry_after = self._retry_after() if outcome == "rate_limited" else None
        tokens = output_tokens if outcome == "answered" else None
        return Answer(outcome, took, tokens, self._headers(), retry_after, output_tokens or None)

    def answered(self, start: float, end: float) -> int:
        """Answers in a span of time."""
        return sum(start <= at < end and outcome == "answered" for at, outcome, _ in self.ended)

    def count(self, outcome: str) -> int:
        return sum(o == outcome for _, o, _ in self.ended)

    async def _serve(self, output_tokens: int) -> None:
        if self.busy >= self.slots:
            turn = asyncio.get_running_loop().create_future()
            self._queue.append(turn)
            await turn
        else:
            self.busy += 1
        await asyncio.sleep(self.median_s * self.rng.lognormvariate(0, self.sigma) + self.per_token_s * output_tokens)
        if self._queue:
            self._queue.popleft().set_result(None)
        else:
            self.busy -= 1

    def _refuses(self, now: float) -> bool:
        if self.per_minute is None:
            return False
        self._fill(now)
        assert self._level is not None
        if self._level < 1:
            return True
        self._level -= 1
        return False

    def _fill(self, now: float) -> None:
        assert self.per_minute is not None
        level = self.burst if self._level is None else self._level
        self._level = min(self.burst, level + (now - self._at) * self.per_minute / 60)
        self._at = now

    def _retry_after(self) -> float | None:
        if "exact" not in self.says:
            return 1.0 if "retry" in self.says else None
        assert self.per_minute is not None
        self._fill(clock())
        assert self._level is not None
        return max(0.001, (1 - self._level) * 60 / self.per_minute)

    def _headers(self) -> dict[str, str]:
        if self.per_minute is None or "limit" not in self.says:
            return {}
        self._fill(clock())
        assert self._level is not None
        return {
            "x-ratelimit-limit-requests": f"{self.per_minute:.0f}",
            "x-ratelimit-remaining-requests": f"{self._level:.0f}",
            "x-ratelimit-reset-requests": f"{(self.burst - self._level) * 60 / self.per_minute:.3f}s",
        }


async def drive(gate: Gate, server: Server, *, until: float, rows: int = 10**9, workers: int = 300) -> int:
    """Rows that each ask until they are answered, ``workers`` of them at a time; returns how many were answered."""
    left = iter(range(rows))
    done = 0

    async def one(row_no: int) -> None:
        nonlocal done
        limited = 0
        while clock() < until:
            permit = await gate.admit(row_no, 100)
            answer = await server.call(row_no)
            permit.settle(
                answer.outcome,
                tokens=answer.tokens,
                headers=answer.headers,
                latency_s=answer.latency_s,
                retry_after=answer.retry_after,
                output_tokens=answer.output_tokens,
            )
            if answer.outcome == "answered":
                done += 1
                return
            limited += answer.outcome == "rate_limited"
            if answer.outcome != "rate_limited":
                await asyncio.sleep(server.rng.uniform(0, 2))
            elif limited > 3:  # as Retrying does
                await asyncio.sleep(backoff(limited - 3, server.rng))

    async def work() -> None:
        for row_no in left:
            if clock() >= until:
                return
            await one(row_no)

    await asyncio.gather(*(work() for _ in range(workers)))
    return done
