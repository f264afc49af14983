"""SQS and S3 by moto's server, in a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.counterparts.process import free_port, serving

#: what the AWS tools take from the environment; moto looks at none of it
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_REGION": "eu-west-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def moto(folder: Path, *, many: bool = False) -> Iterator[str]:
    """Within: its address. ``many``: thousands of messages are to pass."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    module = "tests.counterparts.quick_moto" if many else "moto.server"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    with serving([sys.executable, "-m", module, "-p", str(port)], port, folder / "server.log", env=env):
        yield f"http://127.0.0.1:{port}"
