"""--engine ray: the workers that make the calls, from the flags to the fleet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from llmbatch.cli.order import Order
from llmbatch.errors import UsageError
from llmbatch.pipeline import Pipeline
from llmbatch.providers import access, wrap
from llmbatch.settings import Settings

if TYPE_CHECKING:
    from llmbatch.engines.ray import Fleet, Link

_WINDOW_S = 0.005  #: for each worker, so that all of them together send some 400 messages a second, not more
_LEAST_WINDOW_S = 0.01
_OURS = ("OPENAI_", "AZURE_OPENAI_")  #: variables that say where requests go, and with what
_KEY = "LLMBATCH_WORKERS_KEY"  #: holds the key of api_key_file in a worker's process


@dataclass(frozen=True, slots=True)
class Crew:
    """Workers that can be had."""

    recruit: Callable[[], Link]  #: asks for one more
    workers: int
    in_flight: int

    @property
    def open_rows(self) -> int:
        """Rows between lookup and outcome that keep all workers busy."""
        return 2 * self.workers * self.in_flight

    def fleet(self, settings: Settings, parts: wrap.Parts) -> Fleet:
        """Put them to work."""
        from llmbatch.engines.ray import Fleet
        from llmbatch.engines.ray.fleet import Plan
        from llmbatch.engines.ray.messages import Kit

        window_s = max(_LEAST_WINDOW_S, _WINDOW_S * self.workers)
        told, environment = _for_workers(settings)
        plan = Plan(self.workers, self.in_flight)
        return Fleet(self.recruit, Kit(told, environment, window_s), plan, parts)


def refuse(order: Order, pipeline: Pipeline) -> None:
    """Raise UsageError for flags that do not go together, and when Ray is not there."""
    settings = pipeline.settings
    if order.engine != "ray":
        if any(override.startswith("ray.") for override in order.overrides):
            raise UsageError("--ray-address, --workers and --set ray.* are for --engine ray")
        return
    if settings.limits.tier in ("batch", "auto"):
        raise UsageError(
            f"--engine ray makes calls, and --tier {settings.limits.tier} hands in files", hint="leave out one of them"
        )
    if settings.request.ladder:
        raise UsageError(
            "--engine ray asks one model, and [request] has a ladder", hint="--model NAME asks that model alone"
        )
    if find_spec("ray") is None:
        raise UsageError("--engine ray needs Ray", hint="pip install 'llmbatch[ray]'")


@contextmanager
def hired(order: Order, pipeline: Pipeline) -> Iterator[Crew | None]:
    """Within: a cluster is joined, if the order wants one. Raises UsageError when it cannot be."""
    if order.engine != "ray":
        yield None
        return
    from llmbatch.engines.ray.cluster import joined

    ray = pipeline.settings.ray
    with joined(ray.address, workers=ray.workers, cpus=ray.cpus) as cluster:
        yield Crew(cluster.recruit, ray.workers or max(2, cluster.nodes), ray.in_flight)


def _for_workers(settings: Settings) -> tuple[Settings, dict[str, str]]:
    """Settings and variables as a worker on another machine needs them: a key's file is read here, once."""
    provider = settings.provider
    environment = {name: value for name, value in os.environ.items() if name.startswith(_OURS)}
    if provider.api_key_file is not None:
        environment[_KEY] = access.api_key(provider, access.base_url(provider))
        provider = provider.model_copy(update={"api_key_file": None, "api_key_env": _KEY})
    elif (key := os.environ.get(provider.api_key_env)) is not None:
        environment[provider.api_key_env] = key
    return settings.model_copy(update={"provider": provider}), environment
