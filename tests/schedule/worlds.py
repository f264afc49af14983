"""Nights under a virtual clock: batches, flex calls and standard calls as they would go, and what each way would cost.

Dollars are parts of the standard price of a row. The clock goes in small steps; nothing here sleeps or sends.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from llmbatch import schedule
from llmbatch.schedule import BatchSeen, Offer, State, Terms
from llmbatch.schedule.model import Tier

_MEASURED = 0.01, 10, 50  #: part of the rows that are asked to see how fast live calls are; at least, at most
_WRITTEN_PER_S = 20_000


@dataclass(frozen=True, slots=True)
class Night:
    """What is going to happen; only the oracle and the world know it."""

    seed: int
    rows: int
    deadline_s: float
    speed: float  #: standard rows a second under the limits
    batch_median_s: float  #: infinite: none is ever done
    batch_sigma: float
    flex: str  #: free, busy or windows
    flex_factor: float  #: its speed, where it has capacity, as a part of the standard one
    file_rows: int
    in_flight: int
    reasked: float  #: part of the answers that are invalid
    cancelling_s: float
    history: tuple[float, ...]
    known: float | None  #: history's word of the speed, as a part of it; None: it has to be measured
    error: float  #: of the measured speed
    usd: tuple[tuple[Tier, float], ...] = (("batch", 0.5), ("flex", 0.5))
    windows: tuple[tuple[float, float], ...] = ()  #: in which flex has capacity
    cancel_s: float = 600.0  #: that the program allows for cancelling
    poll_s: tuple[float, float] = (5.0, 120.0)  #: first and longest pause between two looks at batches

    @property
    def price(self) -> dict[str, float]:
        """Of a row."""
        return {"standard": 1.0, **dict(self.usd)}

    @property
    def end_s(self) -> float:
        """When the last row must have its outcome, so that the results are written in time."""
        return self.deadline_s - 1.0 - self.rows / _WRITTEN_PER_S

    @property
    def dt(self) -> float:
        """A step of the clock."""
        return max(0.05, self.deadline_s / 8_000)

    @property
    def rows_per_s(self) -> float:
        """Rows that standard calls bring to their outcome."""
        return self.speed / (1 + self.reasked)

    @property
    def live_s(self) -> float:
        """What pure live work takes."""
        return self.rows * (1 + self.reasked) / self.speed + 1.0

    @property
    def live_makes_it(self) -> bool:
        """Whether pure live work meets the deadline."""
        return self.live_s <= self.end_s

    def has_flex(self, at: float) -> bool:
        """Whether flex has capacity."""
        return self.flex == "free" or any(begin <= at < end for begin, end in self.windows)

    def takes_s(self, nth: int) -> float:
        """Seconds of the nth batch."""
        rng = random.Random(f"{self.seed}:{nth}")
        return self.batch_median_s * rng.lognormvariate(0, self.batch_sigma)

    def terms(self) -> Terms:
        """As the program would know them."""
        offers = tuple(Offer(tier, usd) for tier, usd in sorted(self.usd, key=lambda pair: pair[1]))
        reserve = 2.5 + self.rows / _WRITTEN_PER_S + 2 * self.dt
        return Terms(self.deadline_s, offers, self.cancel_s, min(reserve, self.deadline_s / 4), self.history)


def draw(seed: int) -> Night:
    """A night: its batches take 7 minutes or for ever, its flex tier is busy or not, its limits are wide or tight."""
    rng = random.Random(f"night {seed}")
    medians = (420.0, 420.0, 1_200.0, 3_600.0, 10_800.0, 28_800.0, inf)
    median, sigma = rng.choice(medians), rng.uniform(0.2, 0.8)
    deadline = rng.uniform(1, 9) * 3600
    rows = round(math.exp(rng.uniform(math.log(500), math.log(100_000))))
    tight = math.exp(rng.uniform(math.log(0.01), math.log(1.15)))  # live time as a part of the time there is
    speed = rows / (deadline * tight)
    flex = rng.choice(("free", "busy", "windows"))
    known_of = rng.choice(("none", "these", "these", "others"))
    past = median if known_of == "these" else rng.choice(medians)
    history = () if known_of == "none" else tuple(_past(rng, past, sigma) for _ in range(rng.randrange(1, 8)))
    known = None if rng.random() < 0.5 else rng.uniform(0.85, 1.15)
    windows: list[tuple[float, float]] = []
    at = 0.0
    while flex == "windows" and at < deadline:
        at += rng.expovariate(1 / 1_200)
        windows.append((at, at + rng.expovariate(1 / 1_200)))
        at = windows[-1][1]
    both: tuple[tuple[Tier, float], ...] = (("batch", 0.5), ("flex", 0.5))
    tiers = rng.choice((both, both, both[:1]))
    return Night(
        seed=seed,
        rows=rows,
        deadline_s=deadline,
        speed=speed,
        batch_median_s=median,
        batch_sigma=sigma,
        flex=flex,
        flex_factor=rng.uniform(0.5, 1.0),
        file_rows=rng.choice((2_000, 10_000, 50_000)),
        in_flight=rng.choice((2, 8)),
        reasked=rng.choice((0, 0.01, 0.05)),
        cancelling_s=rng.choice((5.0, 60.0, 300.0, 900.0)),
        history=history,
        known=known,
        error=rng.uniform(-0.15, 0.15),
        usd=tiers,
        windows=tuple(windows),
    )


def _past(rng: random.Random, median: float, sigma: float) -> float:
    took = median * rng.lognormvariate(0, sigma)
    return took if took <= 86_400 else inf


@dataclass(slots=True)
class Batch:
    """A batch of the world."""

    made_at: float
    requests: int
    takes_s: float
    cancelled_at: float = inf

    def done(self, at: float) -> int:
        """Requests done: evenly over its time."""
        at = min(at, self.cancelled_at)
        part = 0.0 if math.isinf(self.takes_s) else min(1.0, (at - self.made_at) / self.takes_s)
        return math.floor(self.requests * part + 1e-9)

    def ended(self, at: float, cancelling_s: float) -> bool:
        """Whether it is in its last state."""
        return at >= min(self.made_at + self.takes_s, self.cancelled_at + cancelling_s)


@dataclass(slots=True)
class World:
    """A night as it goes."""

    night: Night
    at: float = 0.0
    left: float = 0.0  #: rows without an outcome
    usd: float = 0.0
    batches: list[Batch] = field(default_factory=list)  #: open
    made: int = 0
    twice: float = 0.0  #: requests that may be paid twice
    ended_at: float = inf
    answered: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("standard", "flex", "batch"), 0.0))

    def __post_init__(self) -> None:
        self.left = float(self.night.rows)

    @property
    def dt(self) -> float:
        """A step of the clock."""
        return self.night.dt

    @property
    def met(self) -> bool:
        """Whether the deadline is."""
        return self.ended_at <= self.night.end_s

    def pay(self, calls: float, tier: str) -> None:
        """So many calls at a tier; the valid ones give rows their outcome."""
        self.answered[tier] += calls
        self.usd += calls * self.night.price[tier]
        self.left = max(0.0, self.left - calls * (1 - self.night.reasked / (1 + self.night.reasked)))
        if self.left < 0.5 and math.isinf(self.ended_at):
            self.left, self.ended_at = 0.0, self.at + 1.0

    def live(self, tier: str, *, fallback: bool, collect: bool = True) -> float:
        """Ask live for a step; returns calls answered at the tier."""
        calls = self.night.speed * self.dt
        needed = self.left * (1 + self.night.reasked)
        self.at += self.dt
        if collect:
            self.collect()  # cancelled batches may end while calls are made
        if tier == "standard":
            self.pay(min(calls, needed), "standard")
            return calls
        if self.night.has_flex(self.at):
            self.pay(min(calls * self.night.flex_factor, needed), "flex")
            return calls * self.night.flex_factor
        if fallback:
            self.pay(min(calls / 2, needed), "standard")  # the refusals count as requests too
        return 0.0

    def hand_in(self, keep: int = 0) -> None:
        """Put what is left into batches, as many as may be open; ``keep`` rows are not."""
        waiting = self.left - keep - sum(batch.requests for batch in self.batches)
        while waiting >= 1 and len(self.batches) < self.night.in_flight:
            self.made += 1
            requests = min(math.ceil(waiting), self.night.file_rows)
            self.batches.append(Batch(self.at, requests, self.night.takes_s(self.made)))
            waiting -= requests

    def collect(self) -> tuple[float, ...]:
        """Fetch what has ended; returns how long each took."""
        over = [batch for batch in self.batches if batch.ended(self.at, self.night.cancelling_s)]
        for batch in over:
            self.batches.remove(batch)
            held = sum(other.requests for other in (*self.batches, batch))
            late = max(0.0, held - self.left)  # rows of theirs that live calls have answered, spread evenly
            twice = batch.done(self.at) * late / held
            self.twice += twice
            self.usd += twice * self.night.price["batch"]
            self.pay(batch.done(self.at) - twice, "batch")
        return tuple(self._took(batch) for batch in over)

    def _took(self, batch: Batch) -> float:
        """Seconds of a batch that has ended; of one that was cancelled, what it would have taken at its pace."""
        took, done = self.at - batch.made_at, batch.done(self.at)
        return took if math.isinf(batch.cancelled_at) else took * batch.requests / done if done else math.inf

    def seen(self) -> tuple[BatchSeen, ...]:
        """What the provider tells."""
        return tuple(BatchSeen(batch.made_at, batch.requests, batch.done(self.at)) for batch in self.batches)

    @property
    def rows_left(self) -> int:
        """As the program counts them."""
        return math.ceil(self.left - 1e-6)


def auto(night: Night) -> tuple[World, State]:
    """The night as the state machine leads it."""
    world = World(night)
    state = schedule.begin(
        night.terms(), 0.0, world.rows_left, speed=None if night.known is None else night.known * night.rows_per_s
    )
    if state.measuring:
        world.at += min(2.0, night.deadline_s / 50)
        part, least, most = _MEASURED
        some = min(most, max(least, round(world.rows_left * part)), world.rows_left)
        world.at += some / night.speed
        world.pay(some * (1 + night.reasked), "flex" if state.tier == "flex" and night.has_flex(0.0) else "standard")
        if state.tier == "flex":
            state = schedule.step(state, schedule.FlexSeen(world.at, night.rows_per_s * night.has_flex(0.0)))
        state = schedule.step(state, schedule.Measured(world.at, night.rows_per_s * (1 + night.error)))
        state = schedule.step(state, schedule.Tick(world.at, world.rows_left))
    while world.left and world.at < night.deadline_s:
        state = _closing(world, state) if state.closing else _PHASES[state.tier](world, state)
    for batch in world.batches:  # cancelled and not ended: what they did brought nothing
        world.twice += batch.done(night.end_s)
        world.usd += batch.done(night.end_s) * night.price["batch"]
    return world, state


def _beside(world: World, state: State) -> State:
    world.hand_in(keep=state.beside)
    upto = world.left - state.beside
    while world.left > upto and world.at < world.night.deadline_s:
        world.live("standard", fallback=False, collect=False)
    took = world.collect()
    seen = schedule.BatchesSeen(world.at, world.rows_left, world.seen(), took)
    return schedule.step(schedule.step(state, seen), schedule.Beside(world.at, world.rows_left))


def _by_batches(world: World, state: State) -> State:
    if state.beside:
        return _beside(world, state)
    if not world.batches:
        state = schedule.step(state, schedule.Ready(world.at, world.rows_left))
        if state.tier != "batch":
            return state
    world.hand_in()
    pause = world.night.poll_s[0]
    while True:
        world.at = min(world.at + pause, max(schedule.wake_at(state), world.at + 0.5))
        pause = min(pause * 1.5, world.night.poll_s[1])
        took = world.collect()
        state = schedule.step(state, schedule.BatchesSeen(world.at, world.rows_left, world.seen(), took))
        if took or state.closing or state.tier != "batch" or not world.left or world.at >= world.night.deadline_s:
            return state


def _closing(world: World, state: State) -> State:
    for batch in world.batches:
        batch.cancelled_at = min(world.at, batch.cancelled_at)
    while world.batches and state.closing:
        world.at += world.dt
        took = world.collect()
        state = schedule.step(state, schedule.BatchesSeen(world.at, world.rows_left, world.seen(), took))
    return schedule.step(state, schedule.Closed(world.at, world.rows_left)) if state.closing else state


def _by_flex(world: World, state: State) -> State:
    calls = world.live("flex", fallback=schedule.falls_back(state))
    state = schedule.step(state, schedule.FlexSeen(world.at, calls / world.dt / (1 + world.night.reasked)))
    return schedule.step(state, schedule.Tick(world.at, world.rows_left))


def _standard(world: World, state: State) -> State:
    world.live("standard", fallback=False)
    return schedule.step(state, schedule.Tick(world.at, world.rows_left))


_PHASES: dict[str, Callable[[World, State], State]] = {"batch": _by_batches, "flex": _by_flex, "standard": _standard}


def always(night: Night, tier: str) -> World:
    """The night at one tier, until its deadline."""
    world = World(night)
    while world.left and world.at < night.deadline_s:
        if tier == "batch":
            world.hand_in()
            world.at += world.dt
            world.collect()
        else:
            world.live(tier, fallback=False)
    return world


def oracle_usd(night: Night) -> float:
    """A lower bound of what anybody could pay who knew the night: every row that batches or flex calls could have done
    by the end, both at full speed from the start, is cheap; the others are standard."""
    world = World(night)
    cheap = 0.0
    while world.at < night.end_s and world.left:
        world.hand_in()
        world.at += world.dt
        world.collect()
        if night.has_flex(world.at) and "flex" in night.price:
            cheap += night.speed * night.flex_factor * world.dt
    done = world.answered["batch"] + sum(batch.done(night.end_s) for batch in world.batches)
    calls = night.rows * (1 + night.reasked)
    cheap = min(calls, cheap + done)
    return cheap * min(night.price.values()) + (calls - cheap)
