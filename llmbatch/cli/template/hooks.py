"""Checks beyond the schema. This file is imported by llmbatch: it is trusted code."""


def check(output: dict, row: dict) -> list[str]:
    """Problems of an output, as sentences the model can act on; an empty list means valid."""
    problems = []
    if len(output["reason"].split()) > 20:
        problems.append("reason has more than 20 words")
    return problems
