"""RabbitMQ as Debian packages it: a node, a port mapper and files of its own; nothing of the machine's is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.counterparts.certificates import self_signed
from tests.counterparts.process import free_port, needs, serving

_SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"  # the one in the path becomes another user first


class Rabbit:
    """A node that can be stopped and started again with what it has on disk."""

    def __init__(self, folder: Path) -> None:
        needs(_SERVER, "rabbitmq-server")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port, self._distribution, self._mapper = free_port(), free_port(), free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/"
        (folder / "plugins").write_text("[].")
        conf = {"log.console": "true"}
        if shutil.which("openssl"):
            self.tls_port = free_port()
            self.cert, key = self_signed(folder)
            conf |= {
                "listeners.ssl.1": f"127.0.0.1:{self.tls_port}",
                "ssl_options.certfile": str(self.cert),
                "ssl_options.keyfile": str(key),
                "ssl_options.verify": "verify_none",
                "ssl_options.fail_if_no_peer_cert": "false",
            }
            self.tls_url = f"amqps://guest:guest@127.0.0.1:{self.tls_port}/"
        (folder / "rabbitmq.conf").write_text("".join(f"{name} = {value}\n" for name, value in conf.items()))

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Within: it runs."""
        env = {
            **os.environ,
            "HOME": str(self.folder),
            "RABBITMQ_NODENAME": f"llmbatch{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_PORT": str(self._mapper),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        try:
            with serving([_SERVER], self.port, self.folder / "server.log", env=env):
                yield
        finally:
            subprocess.run(["epmd", "-kill"], env=env, capture_output=True, check=False)
