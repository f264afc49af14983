"""Whom a broker's encrypted connection trusts. Certificates and host names are verified, always."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from llmbatch.errors import UsageError

#: an address's parameters, as RabbitMQ's URIs and as redis-py spell them
PARAMETERS = {
    "cacertfile": "authority",
    "ssl_ca_certs": "authority",
    "certfile": "certificate",
    "ssl_certfile": "certificate",
    "keyfile": "key",
    "ssl_keyfile": "key",
}


@dataclass(frozen=True, slots=True)
class Trust:
    """Files in PEM. None: the system's authorities, or those that SSL_CERT_FILE names; no certificate of our own."""

    authority: str | None = None  #: certificates of those who may vouch for the broker
    certificate: str | None = None  #: what we prove ourselves by, where the broker asks for that
    key: str | None = None  #: of ``certificate``; None: in the same file

    def check(self) -> None:
        """Raises UsageError when a file cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.authority is not None:
            try:
                context.load_verify_locations(self.authority)
            except OSError as error:
                raise UsageError(f"--broker: cacertfile {self.authority}: {_words(error)}", hint=_HINT) from None
        if self.certificate is not None:
            try:
                context.load_cert_chain(self.certificate, self.key, password=_no_password)
            except (OSError, ValueError) as error:
                raise UsageError(f"--broker: certfile {self.certificate}: {_words(error)}", hint=_HINT) from None


def refuse_untrusted(shown: str, fault: BaseException | None) -> None:
    """Raise UsageError, for a broker at the address ``shown``, when it is its certificate that a fault comes from."""
    while fault is not None and not isinstance(fault, ssl.SSLCertVerificationError):
        fault = fault.__cause__ or fault.__context__
    if fault is not None:
        raise UsageError(
            f"the certificate of {shown} is not trusted: {fault.verify_message}",
            hint="?cacertfile=FILE in the address, or SSL_CERT_FILE, may name a file with its authority's certificate",
        ) from None


def _no_password() -> str:
    raise ValueError("the key is encrypted")  # OpenSSL would ask for it on the terminal


def _words(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        return "no certificate, or a key of another"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


_HINT = "a file in PEM that you may read"
