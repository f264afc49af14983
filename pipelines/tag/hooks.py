"""Checks on tags beyond the schema. llmbatch imports this file: it is trusted code.

The schema already keeps to the closed list, to one to four tags and to distinct ones. An edit here asks nothing again:
stored answers are judged anew.
"""

from __future__ import annotations

from typing import Any


def check(output: dict[str, Any], row: dict[str, Any]) -> list[str]:
    """Problems of an output, as sentences the model can act on; an empty list means valid."""
    tags, urgency = output["tags"], output["urgency"]
    problems = []
    twice = sorted({tag for tag in tags if tags.count(tag) > 1})
    if twice:  # the schema says so too, but strict structured output cannot promise it
        problems.append(f"tags must be distinct; named more than once: {', '.join(twice)}")
    if "other" in tags and len(set(tags)) > 1:
        problems.append("`other` stands alone: either leave it out or leave out the other tags")
    if urgency == "low" and "data_loss" in tags:
        problems.append("urgency cannot be low for data_loss: choose normal or high, or another tag")
    return problems
