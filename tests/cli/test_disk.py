"""The disk fills up or fails: exit 74 and what to do, nothing torn, and the same command goes on when there is room.

Full disks are small tmpfs in a mount namespace of their own (root only) and file size limits; failing ones are made by
strace. Where the machine does not have what a test needs, it is skipped.
"""

import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from llmbatch.simulator import Latency, Scenario, Server
from tests.cli.conftest import Serve, Shell

SCENARIO = Scenario(server=Server(brain="echo"), latency=Latency(median_ms=100))
CONCURRENCY = 16  # as in the shell's pipeline.toml
MOST_LOST = 3 * CONCURRENCY  # calls in flight, and answers that came while the commit that failed was gathered and made

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def long_tickets(count: int, size: int = 4_000) -> list[dict[str, Any]]:
    """Rows that no compression makes small, so that a small disk fills."""
    rng = random.Random(5)
    return [{"id": f"r{n}", "text": f"{n} {rng.randbytes(size // 2).hex()}"} for n in range(count)]


class SmallDisk:
    """A tmpfs over one of the shell's folders; `llmbatch` of that shell sees it, nothing else does."""

    def __init__(self, shell: "DiskShell", folder: str, kilobytes: int) -> None:
        self._mounted = shell.folder / folder
        self._mounted.mkdir(parents=True, exist_ok=True)
        mount = f"mount -t tmpfs -o size={kilobytes}k none '{self._mounted}' && echo ready && exec sleep 600"
        self._holder = subprocess.Popen(["unshare", "-m", "sh", "-c", mount], stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "ready\n":
            self.remove()
            pytest.skip("no tmpfs can be mounted here")
        self.root = Path(f"/proc/{self._holder.pid}/root{self._mounted}")  #: the folder as the shell sees it
        self._inside = ["nsenter", "-t", str(self._holder.pid), "-m", f"--wdns={shell.folder}"]
        shell.prefix = self._inside

    def resize(self, kilobytes: int) -> None:
        subprocess.run([*self._inside, "mount", "-o", f"remount,size={kilobytes}k", str(self._mounted)], check=True)

    def fill(self) -> None:
        """Leave no byte."""
        subprocess.run(["dd", "if=/dev/zero", f"of={self.root}/ballast", "bs=4k"], capture_output=True, check=False)

    def remove(self) -> None:
        self._holder.kill()
        self._holder.communicate()


class DiskShell(Shell):
    """A shell whose commands start inside a namespace, or under strace."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.prefix: list[str] = []

    def start(self, *args: object, **popen: Any) -> subprocess.Popen[str]:
        command = [*self.prefix, sys.executable, "-m", "llmbatch", *map(str, args)]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=self.folder, env=self.env, text=True, **{**streams, **popen})

    def doctor(self) -> dict[str, Any]:
        facts: dict[str, Any] = orjson.loads(self.call("doctor", "label", "--json", expect=None).stdout)
        return facts


@pytest.fixture
def shell(tmp_path: Path) -> DiskShell:
    return DiskShell(tmp_path)


@pytest.fixture
def disks(shell: DiskShell) -> Iterator[list[SmallDisk]]:
    if os.geteuid() or not (shutil.which("unshare") and shutil.which("nsenter")):
        pytest.skip("needs root, unshare and nsenter")
    made: list[SmallDisk] = []
    yield made
    for disk in made:
        disk.remove()


def assert_told(done: subprocess.CompletedProcess[str], words: str = "free some space") -> None:
    assert done.returncode == 74, done.stderr
    assert done.stderr.startswith("llmbatch: ")
    assert words in done.stderr


def goes_on(shell: DiskShell, url: str, server_requests: int, rows: int) -> None:
    """After the fault: what was stored is whole and is not asked for again."""
    facts = shell.doctor()
    assert facts["healthy"], facts
    stored = facts["counts"].get("attempts", 0)
    assert server_requests - stored <= MOST_LOST
    report = shell.run("-i", "in.jsonl", url=url)
    assert report["rows"]["done"] + report["rows"]["reused"] == rows
    assert report["attempts"]["sent"] == rows - stored


def test_a_full_disk_under_the_ledger(shell: DiskShell, serve: Serve, disks: list[SmallDisk]) -> None:
    server = serve(SCENARIO)
    shell.write("in.jsonl", long_tickets(600))
    disks.append(SmallDisk(shell, ".llmbatch", 2_800))
    told = shell.call("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--quiet", expect=None)
    assert_told(told)
    assert "No space left" in told.stderr
    sent = server.account.total.requests
    assert CONCURRENCY < sent < 600
    disks[0].fill()  # what the end of the run gave back
    again = shell.call("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--quiet", expect=None)
    assert_told(again)
    assert server.account.total.requests == sent
    (disks[0].root / "ballast").unlink()
    disks[0].resize(30_000)
    goes_on(shell, server.base_url, sent, 600)


@pytest.mark.short
def test_a_full_disk_soon(shell: DiskShell, serve: Serve, disks: list[SmallDisk]) -> None:
    """The shortest of them, for `make test`."""
    server = serve(SCENARIO)
    shell.write("in.jsonl", long_tickets(100, 30_000))
    disks.append(SmallDisk(shell, ".llmbatch", 2_000))
    told = shell.call("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--quiet", expect=None)
    assert_told(told)
    sent = server.account.total.requests
    assert CONCURRENCY < sent < 100
    disks[0].resize(30_000)
    goes_on(shell, server.base_url, sent, 100)


def test_a_full_disk_before_the_ledger_is_made(shell: DiskShell, serve: Serve, disks: list[SmallDisk]) -> None:
    server = serve(SCENARIO)
    shell.write("in.jsonl", long_tickets(20))
    disks.append(SmallDisk(shell, ".llmbatch", 400))
    assert_told(shell.call("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--quiet", expect=None))
    disks[0].fill()
    assert_told(shell.call("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--quiet", expect=None))
    assert server.account.total.requests == 0
    (disks[0].root / "ballast").unlink()
    disks[0].resize(30_000)
    assert shell.run("-i", "in.jsonl", url=server.base_url)["rows"]["done"] == 20


@pytest.mark.slow
def test_a_full_disk_while_results_and_reports_are_written(
    shell: DiskShell, serve: Serve, disks: list[SmallDisk]
) -> None:
    """A disk that is a little larger each time: every file that is written fails once."""
    server = serve(SCENARIO)
    shell.write("in.jsonl", long_tickets(5, 8_000))
    ends = []
    disks.append(SmallDisk(shell, "results", 4))
    root = disks[0].root / "label"
    for kilobytes in (4, 44, 52, 64, 96, 400):
        disks[0].resize(kilobytes)
        done = shell.call("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--quiet", expect=None)
        ends.append(done.returncode)
        if done.returncode:
            assert_told(done)
        whole = {"results.jsonl": 5, "failed.jsonl": 0}
        for name, lines in whole.items():
            if (root / name).exists():
                assert len((root / name).read_bytes().splitlines()) == lines
        if (root / "report.json").exists():
            orjson.loads((root / "report.json").read_bytes())
        assert not list(root.glob(".*.tmp"))
    assert ends[0] == 74
    assert ends[-1] == 0
    assert server.account.total.requests == 5  # paid once, whatever became of the results


def test_a_full_disk_leaves_the_older_results_whole(shell: DiskShell, serve: Serve, disks: list[SmallDisk]) -> None:
    server = serve(SCENARIO)
    shell.write("in.jsonl", long_tickets(3))
    disks.append(SmallDisk(shell, "results", 200))
    shell.call("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--quiet")
    before = {path.name: path.read_bytes() for path in (disks[0].root / "label").iterdir()}
    shell.write("in.jsonl", long_tickets(100))
    assert_told(shell.call("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--quiet", expect=None))
    assert {path.name: path.read_bytes() for path in (disks[0].root / "label").iterdir()} == before
    disks[0].resize(5_000)
    shell.call("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--quiet")
    assert len((disks[0].root / "label/results.jsonl").read_bytes().splitlines()) == 100
    assert server.account.total.requests == 100


def test_a_limit_on_file_sizes(shell: DiskShell, serve: Serve) -> None:
    """`ulimit -f`: as a full disk, for everybody."""
    server = serve(SCENARIO)
    shell.write("in.jsonl", long_tickets(600))
    command = ("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--quiet")
    limited = shell.start(*command, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_700_000,) * 2))
    out, err = limited.communicate(timeout=120)
    assert_told(subprocess.CompletedProcess(command, limited.returncode, out, err))
    goes_on(shell, server.base_url, server.account.total.requests, 600)


@needs_strace
@pytest.mark.parametrize(
    ("call", "error", "when"),
    [
        ("fdatasync", "EIO", 12),
        ("pwrite64,write", "ENOSPC", 9),
    ],
)
def test_a_disk_that_fails(shell: DiskShell, serve: Serve, call: str, error: str, when: int) -> None:
    """The n-th write or sync of the ledger's log, and all after it, fail."""
    server = serve(SCENARIO)
    shell.write("in.jsonl", long_tickets(1))
    shell.run("-i", "in.jsonl", url=server.base_url)
    shell.write("in.jsonl", long_tickets(600))
    log = shell.folder / ".llmbatch/label.duckdb.wal"
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={when}+", "-P", str(log)]
    shell.prefix = ["strace", "-f", "-qq", "-o", "/dev/null", *inject]
    told = shell.call("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--quiet", expect=None)
    assert_told(told)
    shell.prefix = []
    goes_on(shell, server.base_url, server.account.total.requests, 600)


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize("when", [3, 17])
def test_killed_at_a_write_of_the_log(shell: DiskShell, serve: Serve, when: int) -> None:
    server = serve(SCENARIO)
    shell.write("in.jsonl", long_tickets(300))
    log = shell.folder / ".llmbatch/label.duckdb.wal"
    inject = ["-e", "trace=write,pwrite64", "-e", f"inject=write,pwrite64:signal=KILL:when={when}", "-P", str(log)]
    shell.prefix = ["strace", "-f", "-qq", "-o", "/dev/null", *inject]
    killed = shell.call("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--quiet", expect=None)
    assert killed.returncode in (-9, 137)
    shell.prefix = []
    goes_on(shell, server.base_url, server.account.total.requests, 300)
