"""A host that cannot prove who it is gets neither key nor row, whatever the environment says."""

import shutil
import ssl
import time
from pathlib import Path

import pytest

from llmbatch.errors import Refused
from llmbatch.providers.openai import OpenAI
from llmbatch.settings import ProviderSettings
from tests.cli.conftest import Shell, tickets
from tests.counterparts.certificates import self_signed
from tests.providers.test_contract import ask
from tests.security.parrot import Heard, Said, completion, parrot

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make certificates with")

#: what switches verification off in Python, requests, curl, git, node and others
SWITCHES = {
    "PYTHONHTTPSVERIFY": "0",
    "SSL_VERIFY": "false",
    "HTTPX_SSL_VERIFY": "0",
    "HTTPX2_SSL_VERIFY": "0",
    "OPENAI_SSL_VERIFY": "false",
    "OPENAI_VERIFY_SSL_CERTS": "false",
    "AIOHTTP_SSL_VERIFY": "false",
    "REQUESTS_CA_BUNDLE": "",
    "CURL_CA_BUNDLE": "",
    "GIT_SSL_NO_VERIFY": "1",
    "NODE_TLS_REJECT_UNAUTHORIZED": "0",
}


def certificate(folder: Path, san: str = "IP:127.0.0.1") -> tuple[ssl.SSLContext, Path]:
    """A server's context with a certificate that it signed itself, and the certificate's file."""
    cert, key = self_signed(folder, san)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context, cert


def fine(_: Heard) -> Said:
    return Said(200, completion('{"summary": "fine"}'))


def test_nothing_in_the_environment_switches_verification_off(shell: Shell) -> None:
    shell.write("in.jsonl", tickets(2))
    tls, _ = certificate(shell.folder)
    shell.env |= SWITCHES
    started = time.monotonic()
    with parrot(fine, tls) as server:
        done = shell.call("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--allow-insecure", expect=6)
    assert "certificate is not trusted" in done.stderr
    assert server.heard == []
    assert time.monotonic() - started < 30  # it is not waited for as an outage is


def test_an_authority_of_ones_own_may_be_added(shell: Shell) -> None:
    shell.write("in.jsonl", tickets(2))
    tls, cert = certificate(shell.folder)
    shell.env["SSL_CERT_FILE"] = str(cert)
    with parrot(fine, tls) as server:
        shell.run("-i", "in.jsonl", url=server.base_url)
    assert len(server.heard) == 2


def test_a_certificate_of_another_host_is_refused_though_trusted(shell: Shell) -> None:
    shell.write("in.jsonl", tickets(2))
    tls, cert = certificate(shell.folder, san="DNS:elsewhere.test")
    shell.env["SSL_CERT_FILE"] = str(cert)
    with parrot(fine, tls) as server:
        done = shell.call("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, expect=6)
    assert "certificate is not trusted" in done.stderr
    assert server.heard == []


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_an_authoritys_file_that_is_none_is_a_mistake(shell: Shell, content: str | None) -> None:
    shell.write("in.jsonl", tickets(2))
    path = shell.folder / "authority.pem"
    if content is not None:
        path.write_text(content)
    shell.env["SSL_CERT_FILE"] = str(path)
    done = shell.call("run", "label", "-i", "in.jsonl", "--base-url", "https://127.0.0.1:9/v1", expect=2)
    assert "SSL_CERT_FILE" in done.stderr


@pytest.mark.short
@pytest.mark.parametrize("through_sdk", [False, True])
async def test_both_ways_over_the_wire_verify(
    tmp_path: Path, through_sdk: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    for name, value in SWITCHES.items():
        monkeypatch.setenv(name, value)
    tls, _ = certificate(tmp_path)
    with parrot(fine, tls) as server:
        openai = OpenAI(
            ProviderSettings(base_url=server.base_url), timeout_s=5, note=pytest.fail, through_sdk=through_sdk
        )
        with pytest.raises(Refused, match="certificate is not trusted"):
            await openai.call(ask())
        await openai.close()
    assert server.heard == []


@pytest.mark.parametrize("through_sdk", [False, True])
async def test_both_ways_over_the_wire_take_an_added_authority(
    tmp_path: Path, through_sdk: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls, cert = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    with parrot(fine, tls) as server:
        openai = OpenAI(
            ProviderSettings(base_url=server.base_url), timeout_s=5, note=pytest.fail, through_sdk=through_sdk
        )
        assert (await openai.call(ask())).text == '{"summary": "fine"}'
        await openai.close()
