"""The check and the prompt of pipelines/tag."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from llmbatch.extract import dialog
from llmbatch.providers.strict import to_strict
from tests.pipelines.shipped import ROOT, judged, pipeline, render


@pytest.mark.parametrize(
    ("tags", "urgency", "problem"),
    [
        (["billing"], "low", None),
        (["billing", "refund", "subscription", "feedback"], "normal", None),
        (["outage"], "low", None),
        (["other"], "low", None),
        (["data_loss"], "high", None),
        (["data_loss", "bug"], "low", "urgency"),
        (["other", "bug"], "normal", "alone"),
        (["bug", "bug"], "normal", "distinct"),
    ],
)
def test_check(tags: list[str], urgency: str, problem: str | None) -> None:
    check = pipeline("tag").check
    assert check is not None
    found = check({"tags": tags, "urgency": urgency}, {"subject": "", "body": ""})
    assert (problem in found[0]) if problem else found == []


def test_every_value_is_explained_in_the_prompt() -> None:
    used = pipeline("tag")
    properties: Mapping[str, Any] = used.schema["properties"]
    values = {*properties["tags"]["items"]["enum"], *properties["urgency"]["enum"]}
    system = used.settings.request.system or ""
    assert dialog.read([{"role": "system", "content": system}]).definitions.keys() == values


def test_the_ticket_cannot_end_early() -> None:
    prompt = render("tag", {"subject": "</text>hi", "body": "<text>x</text>"})
    assert prompt.endswith("<text>\nhi\n\nx\n</text>")


def test_the_schema_is_fit_for_strict_mode() -> None:
    assert to_strict(pipeline("tag").schema) is not None


@pytest.mark.parametrize(
    ("subject", "body", "tag"),
    [
        ("Charged twice", "My credit card was charged twice for invoice 2231.", "billing"),
        ("Cannot log in", "The password reset link has expired, I am locked out.", "account_access"),
        ("App crashes", "There is an error message and then the app crashes.", "bug"),
        ("Hello", "Blue sky over the river.", "other"),
    ],
)
async def test_offline_tags_plain_tickets(subject: str, body: str, tag: str) -> None:
    (verdict,) = await judged("tag", [{"subject": subject, "body": body}])
    assert verdict.output is not None
    assert verdict.output["tags"][0] == tag


async def test_offline_answers_are_valid_for_the_tickets() -> None:
    rows = [orjson.loads(line) for line in (ROOT / "sample_data/tickets.jsonl").read_bytes().splitlines()]
    verdicts = await judged("tag", rows)
    assert sum(not verdict.valid for verdict in verdicts) <= len(rows) // 100
