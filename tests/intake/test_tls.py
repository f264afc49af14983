"""Brokers that speak TLS: who they are is verified, by the certificates that the address or the environment names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from llmbatch.errors import UsageError
from llmbatch.intake import Broker, Queues, address_of, open_broker
from tests.cli.conftest import Shell, tickets
from tests.counterparts.certificates import self_signed
from tests.counterparts.rabbitmq import Rabbit
from tests.counterparts.redis import Redis
from tests.intake.conftest import Place

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make certificates with")
BOTH = pytest.mark.parametrize("place", ["amqp", "redis"], indirect=True)


@pytest.fixture
def server(place: Place) -> Rabbit | Redis:
    assert place.server is not None
    return place.server


def opened(url: str, queues: Queues) -> Broker:
    return open_broker(address_of(url), queues, lease_s=30.0, create=True)


@BOTH
@pytest.mark.parametrize("parameter", ["cacertfile", "ssl_ca_certs"])
def test_an_authority_may_be_named_in_the_address(place: Place, server: Rabbit | Redis, parameter: str) -> None:
    queues = place.queues()
    broker = opened(f"{server.tls_url}?{parameter}={server.cert}", queues)
    broker.connect()
    broker.send([("m1", b"{}")])
    broker.close()
    assert place.drained(queues, queues.rows) == [b"{}"]


@BOTH
def test_a_certificate_of_our_own_is_shown(place: Place, server: Rabbit | Redis) -> None:
    files = f"cacertfile={server.cert}&certfile={server.cert}&keyfile={server.cert.with_name('key.pem')}"
    broker = opened(f"{server.tls_url}?{files}", place.queues())
    broker.connect()
    broker.close()


@BOTH
def test_nobody_else_is_trusted(
    place: Place, server: Rabbit | Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    other, _ = self_signed(tmp_path)
    for url in (server.tls_url, f"{server.tls_url}?cacertfile={other}"):
        with pytest.raises(UsageError, match=r"the certificate of .* is not trusted: self.signed certificate"):
            opened(url, place.queues()).connect()
    elsewhere = server.tls_url.replace("127.0.0.1", "localhost")  # the certificate is for the address only
    with pytest.raises(UsageError, match="not valid for 'localhost'"):
        opened(f"{elsewhere}?cacertfile={server.cert}", place.queues()).connect()


@pytest.mark.slow
@BOTH
def test_it_is_said_at_the_start_without_the_password(place: Place, server: Rabbit | Redis, shell: Shell) -> None:
    shell.write("in.jsonl", tickets(1))
    shell.env |= {"LLMBATCH_BROKER": server.tls_url}
    shell.env.pop("SSL_CERT_FILE", None)
    said = shell.call("worker", "label", "--provider", "offline", "--create", expect=2).stderr
    assert "is not trusted" in said
    assert "cacertfile=FILE" in said
    assert server.tls_url.split("@")[0].rpartition(":")[2] not in said
    shell.env["SSL_CERT_FILE"] = str(server.cert)
    shell.call("enqueue", "label", "--input", "in.jsonl", "--create", "--queue", place.queues().rows)
