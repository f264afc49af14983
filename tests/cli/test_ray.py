"""The Ray engine as a person starts it: on a cluster of two raylets, and on one of its own. Workers, a machine and the
driver are killed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from llmbatch.engines.ray.cluster import joined
from llmbatch.errors import UsageError
from llmbatch.simulator import Latency, Scenario, Server, Simulator
from tests.cli.conftest import Serve, Shell, tickets
from tests.counterparts.raylets import Raylets, needs_ray, raylets, wait_for_workers

CONCURRENCY = 16  #: of the pipeline in conftest
KEY = "planted-4fQx7Kd0aB3cD5eF7gH9iJ"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Raylets]:
    needs_ray()
    with raylets(2, 2) as cluster:
        yield cluster


def slow_server(serve: Serve, latency_ms: float = 300) -> Simulator:
    return serve(Scenario(server=Server(brain="echo"), latency=Latency(median_ms=latency_ms)))


def until(happened: Callable[[], object], timeout_s: float = 60) -> None:
    give_up = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < give_up
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def _nothing_stays(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test that fails leaves no run behind."""
    started: list[subprocess.Popen[str]] = []
    begin = Shell.start

    def noted(shell: Shell, *args: object, **popen: Any) -> subprocess.Popen[str]:
        started.append(begin(shell, *args, **popen))
        return started[-1]

    monkeypatch.setattr(Shell, "start", noted)
    yield
    for process in started:
        process.kill()
        process.communicate()


def start(shell: Shell, server: Simulator, rows: int, *flags: object) -> subprocess.Popen[str]:
    shell.write("in.jsonl", tickets(rows))
    where = ("--base-url", server.base_url, "--input", "in.jsonl")
    return shell.start("run", "label", *where, "--engine", "ray", "--workers", 2, *flags)


def ended(shell: Shell, process: subprocess.Popen[str], status: int = 0) -> dict[str, Any]:
    """Its report, which is all that is on standard output."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == status, err
    assert "Traceback" not in err
    assert "raylet" not in err
    report: dict[str, Any] = orjson.loads(out)
    rows = report["rows"]
    assert rows["total"] == sum(rows[name] for name in ("done", "reused", "failed", "skipped", "pending"))
    return report


def kill_workers(pids: list[int]) -> None:
    for pid in wait_for_workers(pids, 1):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_workers_and_then_a_machine_are_lost_and_no_row_is(shell: Shell, serve: Serve) -> None:
    needs_ray()
    server = slow_server(serve)
    with raylets(1, 1) as cluster:
        shell.env |= cluster.environment
        process = start(shell, server, 220, "--json", "--ray-address", cluster.address)
        until(lambda: server.account.total.requests > 40)
        kill_workers(cluster.pids)
        until(lambda: server.account.total.requests > 120)
        os.kill(cluster.pids[1], signal.SIGKILL)
        report = ended(shell, process)
    assert report["rows"]["done"] == 220
    attempts = report["attempts"]
    assert attempts["sent"] == 220 + attempts["possibly_paid_twice"]
    assert 0 < attempts["possibly_paid_twice"] <= 2 * CONCURRENCY
    assert server.account.total.requests <= attempts["sent"]
    assert server.account.peak_in_flight <= 2 * CONCURRENCY  # those of the dead may not have ended there
    ids = [row["id"] for row in shell.results()]
    assert ids == [f"r{n}" for n in range(220)]


def test_the_driver_is_killed_and_the_same_command_goes_on(shell: Shell, serve: Serve, cluster: Raylets) -> None:
    server = slow_server(serve)
    shell.env |= cluster.environment
    flags = ("--json", "--ray-address", cluster.address)
    process = start(shell, server, 200, *flags)
    until(lambda: server.account.total.requests > 80)
    process.kill()
    process.communicate()
    until(lambda: not cluster.workers(), 30)  # Ray ends those whose driver is no more
    report = ended(shell, start(shell, server, 200, *flags))
    assert (report["rows"]["done"] + report["rows"]["reused"], report["rows"]["pending"]) == (200, 0)
    assert report["rows"]["reused"] > 40
    assert server.account.total.requests <= 200 + CONCURRENCY + 8  # and what came in the ledger's last 0.1 s


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains(shell: Shell, serve: Serve, cluster: Raylets, number: signal.Signals) -> None:
    server = slow_server(serve)
    shell.env |= cluster.environment
    process = start(shell, server, 200, "--json", "--ray-address", cluster.address)
    until(lambda: server.account.total.requests > 50)
    process.send_signal(number)
    report = ended(shell, process, 128 + number)
    assert server.account.total.requests == report["rows"]["done"] == report["attempts"]["ok"]
    assert report["rows"]["pending"] == 200 - report["rows"]["done"] > 0
    until(lambda: not cluster.workers(), 30)


@pytest.mark.slow
def test_one_budget_holds_for_the_cluster_though_workers_are_lost(shell: Shell, serve: Serve, cluster: Raylets) -> None:
    server = slow_server(serve, 100)
    shell.env |= cluster.environment
    with (shell.pipeline / "pipeline.toml").open("a") as toml:
        toml.write("[prices.m-1]\ninput = 1000\noutput = 1000\n")
    process = start(shell, server, 400, "--json", "--ray-address", cluster.address, "--budget", "20")
    until(lambda: server.account.total.requests > 40)
    kill_workers(cluster.pids)
    until(lambda: server.account.total.requests > 120)
    kill_workers(cluster.pids)
    report = ended(shell, process, 4)
    assert 0 < server.account.total.dollars(1000, 1000) <= 20  # type: ignore[arg-type]
    assert report["attempts"]["possibly_paid_twice"] > 0


@pytest.mark.slow
def test_a_cluster_of_its_own_leaves_nothing_behind_and_tells_nobody(shell: Shell, serve: Serve) -> None:
    """The key and the rows are in no file of Ray's, not even when the run is killed; only this machine can connect."""
    needs_ray()
    server = slow_server(serve)
    temporary = Path(f"/tmp/t{os.getpid()}")  # short: the names of sockets are
    temporary.mkdir()
    shell.env |= {"TMPDIR": str(temporary), "OPENAI_API_KEY": KEY}
    try:
        process = start(shell, server, 200, "--json")
        until(lambda: server.account.total.requests > 50)
        (folder,) = temporary.glob("llmb-ray-*")
        assert folder.stat().st_mode & 0o077 == 0
        assert {address for pid in family(process.pid) for address in listening(pid)} <= LOOPBACK
        process.kill()
        process.communicate()
        found = subprocess.run(
            ["grep", "-rlaF", "-e", KEY, "-e", "the invoice of month", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.stdout == ""
        report = ended(shell, start(shell, server, 200, "--json"))
        assert report["rows"]["pending"] == 0
        assert list(temporary.glob("llmb-ray-*")) == []  # the second run's, and that of the killed one
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    children = [int(c) for task in Path(f"/proc/{pid}/task").glob("*") for c in (task / "children").read_text().split()]
    return [pid, *(member for child in children for member in family(child))]


def listening(pid: int) -> set[str]:
    """Addresses, in the kernel's hex, at which a process listens."""
    sockets = set()
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            sockets.add(str(link.readlink()))
        except OSError:
            continue  # closed meanwhile
    lines = [
        line.split() for net in ("tcp", "tcp6") for line in Path(f"/proc/{pid}/net/{net}").read_text().splitlines()
    ]
    state, inode = 3, 9
    return {line[1].partition(":")[0] for line in lines if line[state] == "0A" and f"socket:[{line[inode]}]" in sockets}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--workers", "2"), "are for --engine ray"),
        (("--engine", "ray", "--tier", "batch", "--set", "provider.like=openai"), "--tier batch hands in files"),
        (("--engine", "ray", "--ray-address", "ray://h:1"), "Ray's client is not supported"),
        (("--engine", "ray", "--ray-address", "127.0.0.1:9"), "127.0.0.1:9 cannot be reached: Connection refused"),
        (("--engine", "ray", "--ray-address", "head"), "--ray-address head is none"),
        (("--engine", "ray", "--workers", "0"), "greater than or equal to 1"),
    ],
)
def test_flags_that_do_not_go_together(shell: Shell, flags: tuple[str, ...], words: str) -> None:
    shell.write("in.jsonl", tickets(2))
    refused = shell.call("run", "label", "-i", "in.jsonl", "--base-url", "http://127.0.0.1:9/v1", *flags, expect=2)
    assert words in refused.stderr
    assert not (shell.folder / "results").exists()


def test_what_auto_finds_is_refused_when_it_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_ray()
    import ray
    from ray._private import services

    monkeypatch.setattr(services, "get_ray_address_from_environment", lambda *_: "127.0.0.1:9")
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray would try for minutes"))
    with pytest.raises(UsageError, match=r"127\.0\.0\.1:9 cannot be reached"), joined("auto", workers=1, cpus=1):
        pass


def test_without_ray_it_names_the_extra(shell: Shell) -> None:
    shell.write("in.jsonl", tickets(2))
    program = "import sys; sys.modules['ray'] = None; from llmbatch.cli import main; sys.exit(main(sys.argv[1:]))"
    flags = ["run", "label", "-i", "in.jsonl", "--provider", "offline", "--engine", "ray"]
    refused = subprocess.run(
        [sys.executable, "-c", program, *flags],
        cwd=shell.folder,
        env=shell.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert "pip install 'llmbatch[ray]'" in refused.stderr
