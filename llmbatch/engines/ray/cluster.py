"""The one importer of ray: joins or starts a cluster, and makes workers of actors.

Messages go as direct arguments and results of actor calls: from process to process, in memory. Nothing goes by
runtime_env or by a constructor, which Ray keeps and logs; so the key is in none of its files. Ray itself restarts no
actor and repeats no call (max_restarts and max_task_retries are 0): that a call is made again is for the run to decide.
"""

from __future__ import annotations

import os
import pickle
import secrets
import shutil
import signal
import socket
import tempfile
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

from llmbatch.atomic import alive
from llmbatch.engines.ray.link import Gone, Link
from llmbatch.engines.ray.messages import Greeting, Heard, Kit, ToWorker
from llmbatch.engines.ray.worker import Worker
from llmbatch.errors import UsageError

T = TypeVar("T")

_STORE_BYTES = 80 * 2**20  #: Ray's smallest is 75 MB; only messages above 100 kB pass through it
_OWN = "llmb-ray-"  #: short, as the next line says
_LONGEST_TEMP = 11  #: characters, because the name of a socket has 107 at most, and Ray wants the rest
_REACHED_S = 5.0
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else a warning in every process
    "RAY_DEDUP_LOGS": "0",
}
_ALONE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # in spite of its name: bind to the loopback address
    "RAY_AUTH_MODE": "token",  # other users of the machine could run code as this one
}
_TRIES = ("RAY_NUM_REDIS_GET_RETRIES", "5")  #: in spite of its name: to join a cluster, each of 1 to 41 s; else 20
_MOST_CALLS = 16  #: of one actor at a time; tell and hear are two


def _read(message: bytes) -> Any:
    return pickle.loads(message)  # noqa: S301 - from a process that Ray gives our code to run anyway


class ActorWorker(Worker):
    """A worker as Ray carries it: messages are pickled by us, in half the time of Ray's pickler (7 us, not 14)."""

    async def open_pickled(self, kit: bytes) -> bytes:
        """See Worker.open."""
        return pickle.dumps(await self.open(_read(kit)))

    async def tell_pickled(self, messages: bytes) -> None:
        """See Worker.tell."""
        await self.tell(_read(messages))

    async def hear_pickled(self) -> bytes:
        """See Worker.hear."""
        return pickle.dumps(await self.hear())


class RayLink:
    """A link to an actor."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray = ray
        self._actor = actor

    async def open(self, kit: Kit) -> Greeting:
        """Begin."""
        answer = await self._asked(self._actor.open_pickled.remote(pickle.dumps(kit)))
        greeting: Greeting = _read(answer)
        return greeting

    async def tell(self, messages: list[ToWorker]) -> None:
        """Tell."""
        await self._asked(self._actor.tell_pickled.remote(pickle.dumps(messages)))

    async def hear(self) -> Heard:
        """Listen."""
        heard: Heard = _read(await self._asked(self._actor.hear_pickled.remote()))
        return heard

    def kill(self) -> None:
        """End the actor."""
        if self._ray.is_initialized():
            self._ray.kill(self._actor, no_restart=True)

    async def _asked(self, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except self._ray.exceptions.RayError as error:
            raise Gone(_why(error)) from None


def _why(error: Exception) -> str:
    """Ray's reason in a few words; its own are a page."""
    words = " ".join(str(error).split())
    for mark, short in _REASONS.items():
        if mark in words:
            return short
    return f"{type(error).__name__}: {words[:120]}"


#: what stands in Ray's words, and what it means here; the first that is found
_REASONS = {
    "ModuleNotFoundError: No module named": "llmbatch cannot be imported on its machine",
    "node has died": "its machine is gone",
    "node was terminated": "its machine is gone",
    "killed by `ray.kill`": "it was killed",
    "out of memory": "its machine was out of memory",
    "worker process has died": "its process ended",
    "died unexpectedly": "its process ended",
}


class Cluster:
    """A joined cluster."""

    def __init__(self, ray: Any, cpus: float) -> None:
        self._ray = ray
        self._class = ray.remote(
            num_cpus=cpus,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=_MOST_CALLS,
            scheduling_strategy="SPREAD",
        )(ActorWorker)

    @property
    def nodes(self) -> int:
        """Machines that are alive."""
        return sum(bool(node["Alive"]) for node in self._ray.nodes())

    def recruit(self) -> Link:
        """Ask for one more worker."""
        return RayLink(self._ray, self._class.remote())


@contextmanager
def joined(address: str | None, *, workers: int | None, cpus: float) -> Iterator[Cluster]:
    """Within: a cluster. Without an address (RAY_ADDRESS neither) it is one of this machine's own, which then ends.

    Raises UsageError when ray is missing, or the cluster cannot be joined.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if address.startswith("ray://"):
        raise UsageError("--ray-address ray://...: Ray's client is not supported", hint=_ON_A_NODE)
    if address not in ("auto", "local"):
        _refuse_unreachable(address)
    alone = address == "local"
    ray = _imported(alone=alone)
    if address == "auto":
        address = _nearest()
        _refuse_unreachable(address)
    with _own(ray, workers or 2, cpus) if alone else _others(ray, address):
        yield Cluster(ray, cpus)


def _nearest() -> str:
    """The cluster that Ray takes for ``auto``: it may have died, or be another run's own, which lets nobody in."""
    from ray._private import services

    try:
        return str(services.get_ray_address_from_environment("auto", None))
    except ConnectionError:
        raise UsageError("no Ray cluster is found on this machine", hint=_ON_A_NODE) from None


def _refuse_unreachable(address: str) -> None:
    """Raise UsageError where nobody listens: Ray itself would try for ever."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACHED_S).close()
    except ValueError:
        raise UsageError(f"--ray-address {address} is none", hint="auto, or HOST:PORT") from None
    except OSError as error:
        words = f"the Ray cluster at {address} cannot be reached: {error.strerror or error}"
        raise UsageError(words, hint=_ON_A_NODE) from None


_ON_A_NODE = (
    "run llmbatch on one of the cluster's machines, with --ray-address auto, "
    "and with RAY_AUTH_MODE=token if it wants a token"
)


@contextmanager
def _own(ray: Any, workers: int, cpus: float) -> Iterator[None]:
    folder = _own_folder()
    try:
        _init(
            ray,
            address="local",
            num_cpus=max(1, ceil(workers * cpus)),
            object_store_memory=_STORE_BYTES,
            include_dashboard=False,
            _temp_dir=f"{folder}/r",  # Ray opens it to all, but nobody else comes through what is above
            # rows are for memory only; and workers are started when they are asked for
            _system_config={"automatic_object_spilling_enabled": False, "prestart_worker_first_driver": False},
        )
        try:
            yield
        finally:
            ray.shutdown()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _own_folder() -> str:
    """For logs and sockets, with mode 0700: Ray's usual one is open to all. Those of runs that were killed go."""
    where = Path(tempfile.gettempdir())
    if len(str(where)) > _LONGEST_TEMP:
        where = Path("/tmp")  # noqa: S108 - mkdtemp takes a new name
    for left in where.glob(f"{_OWN}*-*"):
        pid = left.name.removeprefix(_OWN).partition("-")[0]
        if pid.isdigit() and not alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)  # what belongs to others stays
    return tempfile.mkdtemp(prefix=f"{_OWN}{os.getpid()}-", dir=where)


@contextmanager
def _others(ray: Any, address: str) -> Iterator[None]:
    _init(ray, address=address)
    try:
        yield
    finally:
        ray.shutdown()


def _init(ray: Any, **how: Any) -> None:
    heed = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", configure_logging=False, **how)
    except (ConnectionError, OSError, ValueError, RuntimeError) as error:
        ray.shutdown()
        words = " ".join(str(error).split())[:300]
        where = f"the Ray cluster at {how['address']} cannot be joined"
        local = how["address"] == "local"
        raise UsageError(
            f"{'Ray does not start' if local else where}: {words}", hint=None if local else _ON_A_NODE
        ) from None
    finally:
        signal.signal(signal.SIGTERM, heed)  # Ray's own handler would end the run without its results


def _imported(*, alone: bool) -> Any:
    """Ray, told to be quiet before it is imported, for it reads its environment then."""
    os.environ.update(_QUIET)
    if alone:
        os.environ.update({**_ALONE, "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    else:
        os.environ.setdefault(*_TRIES)
    try:
        import ray
        from ray._private import worker
    except ImportError:
        raise UsageError("--engine ray needs Ray", hint="pip install 'llmbatch[ray]'") from None
    worker._worker_logs_enabled = False  # raylets' complaints would be printed into results and progress
    return ray
