from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.limits.headers import LONGEST_WAIT_S, Allowance, allowance, duration, number, retry_after

NOW = 1_790_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("12ms", 0.012),
        ("1h0m0s", 3600.0),
        ("1m30.5s", 90.5),
        ("2m59.56s", 179.56),
        ("250µs", 0.00025),
        ("7", 7.0),
        ("0.25", 0.25),
        (" 1s ", 1.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1s later", "s", "1d", "1e9", "nan", "inf", "9" * 40, "1s1"])
def test_junk_is_no_duration(text: str) -> None:
    assert duration(text) is None


@pytest.mark.parametrize("text", ["-5", "1,000", "1e3", "nan", "", "0x10"])
def test_junk_is_no_number(text: str) -> None:
    assert number(text) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after-ms": "junk", "retry-after": "2"}, 2.0),
        ({"llm_provider-retry-after": "3"}, 3.0),
        ({"retry-after": "junk", "llm_provider-retry-after": "3"}, 3.0),
        ({"retry-after": "86400"}, LONGEST_WAIT_S),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "0"}, None),
        ({"retry-after": formatdate(NOW + 20, usegmt=True)}, 20.0),
        ({"retry-after": formatdate(NOW - 20, usegmt=True)}, None),
        ({"retry-after": "Wed, 99 Foo 2026 99:99:99 GMT"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == (None if seconds is None else pytest.approx(seconds))


def test_allowance() -> None:
    headers = {
        "x-ratelimit-limit-requests": "600",
        "x-ratelimit-remaining-requests": "599",
        "x-ratelimit-reset-requests": "100ms",
        "x-ratelimit-limit-tokens": "0",
    }
    assert allowance(headers, "requests") == Allowance(600.0, 599.0, 0.1)
    assert allowance(headers, "tokens") == Allowance(None, None, None)
    assert allowance({}, "requests") is None


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "llm_provider-retry-after"]), st.text()))
def test_no_header_can_hurt(headers: dict[str, str]) -> None:
    wait = retry_after(headers, NOW)
    assert wait is None or 0 < wait <= LONGEST_WAIT_S
