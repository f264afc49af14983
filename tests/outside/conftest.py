from typing import Any

from llmbatch.outside.facts import Begun


def begun(**other: Any) -> Begun:
    facts: dict[str, Any] = {
        "run_id": "20261123T230527-a0a52c", "pipeline": "tag", "prompt_version": "572789a4b18f", "prompt_label": "v3",
        "provider": "openai", "address": None, "model": "m-1", "params": {"temperature": 0}, "input": ("in.jsonl",),
        "total": 10, "budget_usd": None, "deadline": None, "resumes": 0, "started_at": 1_795_000_000.25,
    }  # fmt: skip
    return Begun(**(facts | other))
