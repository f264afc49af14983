"""The server as a process of its own."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from llmbatch.errors import UsageError
from llmbatch.simulator import Scenario, run
from tests.simulator.client import body

SERVE = """
import sys
from pathlib import Path
from llmbatch.simulator import Scenario, run
run(Scenario(), account_file=Path(sys.argv[1]), on_ready=lambda url: print(url, flush=True))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_ends_cleanly_on_a_signal_and_leaves_its_account(tmp_path: Path, number: signal.Signals) -> None:
    account = tmp_path / "account.json"
    command = [sys.executable, "-c", SERVE, str(account)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        request = urllib.request.Request(f"{url}/chat/completions", json.dumps(body()).encode())
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "", "")
    assert json.loads(account.read_text())["total"]["paid"] == 1
    assert account.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [account]


def test_an_account_that_cannot_be_written_leaves_the_older_one(tmp_path: Path) -> None:
    account = tmp_path / "account.json"
    account.write_text("older")
    no_room = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"  # as a full disk
    command = [sys.executable, "-c", f"{no_room}{SERVE}", str(account)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=10)
    assert "StorageError: cannot write into" in err
    assert account.read_text() == "older"
    assert list(tmp_path.iterdir()) == [account]


def test_a_port_that_is_taken_is_a_clear_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on http://127.0.0.1:{port}/v1"):
            run(Scenario(), port=port)
