"""What counts as a secret, and what does not."""

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.scrub import HIDDEN, hide_values, holds_key, scrub

KEYS = [
    "sk-proj-4fQx7Kd0aB3cD5eF7gH9iJ1kL3mN5oP7",
    "sk-ant-api03-aBcDeFgH1234567890",
    "sk-or-v1-0123456789abcdef0123456789abcdef",
    "gsk_4fQx7Kd0aB3cD5eF7gH9",
    "hf_aBcDeFgHiJkLmNoPqRsTuV",
    "xai-aBcDeFgHiJkLmNoPqRsT",
    "AIzaSyA1234567890abcdefghijklmnopqrstuv",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
]
PLAIN = [
    "task-management-for-beginners-2024-edition",
    "the key-value store was down",
    "llmbatch_key is the request's hash",
    "rows.jsonl:17: a row must be a JSON object",
    "results/tag/report.html",
    "3f2b9c0d1e4a5b6c7d8e9f0a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8a9b0c",
    "max_tokens is sent as max_completion_tokens",
    "an API key is missing",
    "Bearer of good news",
]


@pytest.mark.parametrize("key", KEYS)
def test_keys_are_known_by_their_form(key: str) -> None:
    assert holds_key(f"base_url = https://host/{key}")
    for text in (f"Incorrect API key provided: {key}.", f"({key})", f'{{"message": "{key}"}}', f"\n{key}\n"):
        assert key not in scrub(text)
        assert HIDDEN in scrub(text)


@pytest.mark.parametrize("text", PLAIN)
def test_words_stay(text: str) -> None:
    assert not holds_key(text)
    assert scrub(text) == text


def test_in_doubt_a_message_loses_a_word_and_a_pipeline_does_not() -> None:
    assert not holds_key("sk-learn-and-other-libraries-of-note")
    assert scrub("no sk-learn-and-other-libraries-of-note") == f"no {HIDDEN}"


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abcdef123456",
        "authorization=Basic YWJjZGVmOmdoaWprbA==",
        '{"Authorization": "Token abcdef123456"}',
        "https://user:abcdef123456@host/v1",
        "?api_key=abcdef123456&x=1",
        "api-key: abcdef123456",
        "Incorrect API key provided: abcdef***********3456. You can find",
    ],
)
def test_keys_are_known_by_their_place(text: str) -> None:
    assert "abcdef" not in scrub(text)
    assert "3456" not in scrub(text)


@pytest.mark.parametrize("name", ["MY_API_KEY", "GATEWAY_TOKEN", "CLIENT_SECRET", "AWS_SECRET_ACCESS_KEY", "my_apikey"])
@given(secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40))
def test_values_of_secret_variables_are_hidden(name: str, secret: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, secret)
        for text in (secret, f"a{secret}b", json.dumps({"x": secret}), f"https://host/{quote(secret, safe='')}"):
            assert secret not in scrub(text).replace(HIDDEN, "")
            assert hide_values(text) != text


def test_short_values_and_other_variables_are_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "yes")
    monkeypatch.setenv("EDITOR", "an-editor-of-note")
    assert scrub("yes, an-editor-of-note") == "yes, an-editor-of-note"


def test_a_pipeline_may_use_a_word_that_is_also_a_weak_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "database")
    assert not holds_key("You label questions about a database.")
    assert scrub("the database is down") == f"the {HIDDEN} is down"
