"""The ledger's SQL by name."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files


@cache
def statements() -> dict[str, str]:
    """The SQL of ledger.sql by name."""
    text = (files("llmbatch.ledger") / "ledger.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+)$", text, flags=re.M)
    return {name: sql.strip() for name, sql in zip(parts[1::2], parts[2::2], strict=True)}
