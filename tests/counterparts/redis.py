"""Redis as Debian packages it, with its log of writes on, so that a restart loses nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.counterparts.certificates import self_signed
from tests.counterparts.process import free_port, needs, serving

PASSWORD = "correct-horse-battery"


class Redis:
    """A server that can be stopped and started again with what it has on disk."""

    def __init__(self, folder: Path) -> None:
        self._program = needs("redis-server", "redis-server")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"
        self._tls: dict[str, object] = {}
        if shutil.which("openssl"):
            tls_port = free_port()
            self.cert, key = self_signed(folder)
            self._tls = {
                "tls-port": tls_port, "tls-cert-file": self.cert, "tls-key-file": key, "tls-ca-cert-file": self.cert,
                "tls-auth-clients": "optional",
            }  # fmt: skip
            self.tls_url = f"rediss://:{PASSWORD}@127.0.0.1:{tls_port}/0"

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Within: it runs."""
        options = {
            "port": self.port, "bind": "127.0.0.1", "dir": self.folder, "appendonly": "yes", "appendfsync": "always",
            "save": "", "requirepass": PASSWORD, **self._tls,
        }  # fmt: skip
        command = [self._program, *(word for name, value in options.items() for word in (f"--{name}", str(value)))]
        with serving(command, self.port, self.folder / "server.log"):
            yield
