"""An OpenAI-compatible server with scripted faults, for rehearsal, tests and benchmarks.

It answers ``POST /v1/chat/completions`` and ``/v1/embeddings``, ``GET /v1/models``, ``/v1/files`` and ``/v1/batches``,
and shows at ``GET /account`` what it was asked and what it would bill. A request's way through it: key and shape ->
limits -> fault -> slot -> answer -> account -> wire. Batches move by a clock of their own, which may be fast.
"""

from llmbatch.simulator.account import Account, Served, Sums
from llmbatch.simulator.batches.tables import BATCH_KINDS, Batches, BatchFault, Clock
from llmbatch.simulator.run import run
from llmbatch.simulator.scenario import (
    KINDS,
    Fault,
    Judging,
    Latency,
    Limits,
    Model,
    Scenario,
    Server,
    built_in,
    load_scenario,
)
from llmbatch.simulator.server import Simulator

__all__ = [
    "BATCH_KINDS",
    "KINDS",
    "Account",
    "BatchFault",
    "Batches",
    "Clock",
    "Fault",
    "Judging",
    "Latency",
    "Limits",
    "Model",
    "Scenario",
    "Served",
    "Server",
    "Simulator",
    "Sums",
    "built_in",
    "load_scenario",
    "run",
]
