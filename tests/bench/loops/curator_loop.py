# mypy: ignore-errors
"""bespokelabs-curator, in its own environment: ROWS.jsonl BASE_URL IN_FLIGHT. Its limits are set out of the way.

Its token counter would be fetched from the network; here a word is a token, which spares it that work.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

os.environ |= {
    "OPENAI_API_KEY": "no-key",
    "CURATOR_CACHE_DIR": tempfile.mkdtemp(),
    "TELEMETRY_ENABLED": "false",
    "HF_HUB_OFFLINE": "1",
    "CURATOR_DISABLE_RICH_DISPLAY": "1",
}

import tiktoken


class _Words:
    """A stand-in for tiktoken's encodings."""

    def encode(self, text, *args, **options):
        """A number a word."""
        return list(range(text.count(" ") + 1))


tiktoken.get_encoding = tiktoken.encoding_for_model = lambda name: _Words()

from bespokelabs import curator  # noqa: E402


class Asks(curator.LLM):
    """One prompt a row."""

    def prompt(self, row):
        """The row's text."""
        return row["text"]

    def parse(self, row, response):
        """The answer beside nothing."""
        return {"answer": response}


with Path(sys.argv[1]).open("rb") as file:
    rows = [{"text": json.loads(line)["text"]} for line in file]
answers = Asks(
    model_name="m-1",
    backend="openai",
    backend_params={
        "base_url": sys.argv[2],
        "max_requests_per_minute": 10**7,
        "max_tokens_per_minute": 10**9,
        "max_concurrent_requests": int(sys.argv[3]),
        "max_retries": 0,
    },
)(rows)
found = getattr(answers, "dataset", answers)
if len(found) != len(rows):
    sys.exit(f"{len(found)} answers for {len(rows)} rows")
