from pathlib import Path

import pytest

TOML = """\
[request]
model = "m-1"
system = "You label."
params = { temperature = 0, max_completion_tokens = 60 }

[input]
require = ["text"]

[limits]
concurrency = 4
"""
SCHEMA = '{"type": "object", "properties": {"tag": {"type": "string"}}, "required": ["tag"]}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small sound pipeline."""
    path = tmp_path / "label"
    path.mkdir()
    (path / "pipeline.toml").write_text(TOML)
    (path / "prompt.j2").write_text("Label this: {{ text }}")
    (path / "schema.json").write_text(SCHEMA)
    return path
