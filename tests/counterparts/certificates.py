"""Certificates that a server signs itself, by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path


def self_signed(folder: Path, san: str = "IP:127.0.0.1") -> tuple[Path, Path]:
    """Files of a certificate and its key. Whoever trusts the certificate's file trusts the server."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += f"-keyout {key} -out {cert} -days 2 -subj /CN=counterpart -addext subjectAltName={san}".split()
    subprocess.run(command, check=True, capture_output=True)
    return cert, key
