"""CI's audit of the locked versions: a vulnerability fails it, and what was not looked up is not called passed."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.pages import ROOT

pytestmark = pytest.mark.short

FINE = {"name": "a", "version": "1.0", "vulns": []}
BAD = {"name": "b", "version": "2.0", "vulns": [{"id": "CVE-2025-27516", "fix_versions": ["2.1"], "aliases": []}]}
UNKNOWN = {"name": "c", "skip_reason": "Dependency not found on PyPI and could not be audited: c (1.0)"}


def audit(text: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, ROOT / ".ci/audit"], input=text, capture_output=True, text=True, check=False)
    assert not done.stderr
    return done.returncode, done.stdout


def found(*dependencies: dict[str, Any]) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


def test_a_known_vulnerability_fails() -> None:
    assert audit(found(FINE, BAD, UNKNOWN)) == (1, "audit: b 2.0: CVE-2025-27516, mended in 2.1\n")


@pytest.mark.parametrize("text", ["", found(), found(UNKNOWN, UNKNOWN)])
def test_a_database_out_of_reach_is_skipped_and_said(text: str) -> None:
    code, said = audit(text)
    assert code == 0
    assert "SKIPPED, not passed" in said


def test_what_was_looked_up_is_counted() -> None:
    code, said = audit(found(FINE, UNKNOWN))
    assert code == 0
    assert "audit: c was not looked up" in said
    assert said.endswith("audit: 1 of 2 locked versions looked up, none has a known vulnerability\n")
