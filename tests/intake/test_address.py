"""Addresses of brokers: what is read, refused, shown and hidden."""

import pytest

from llmbatch import scrub
from llmbatch.errors import UsageError
from llmbatch.intake import address_of


def test_an_address_is_taken_apart() -> None:
    found = address_of("amqps://u%40x:p%2Fw-long-enough@[::1]:5671/v%2Fhost")
    assert (found.host, found.port, found.path, found.user, found.password) == (
        "::1", 5671, "v/host", "u@x", "p/w-long-enough",
    )  # fmt: skip
    assert found.shown == "amqps://::1:5671/v/host"
    assert address_of("redis://localhost").port == 6379
    assert address_of("sqs://eu-west-1").shown == "sqs://eu-west-1"


def test_password_and_address_are_hidden_from_then_on() -> None:
    address_of("redis://:quite-a-secret%21@localhost:1/0")
    words = scrub.hide_values("redis://:quite-a-secret%21@localhost:1/0 and quite-a-secret! and quite-a-secret%21")
    assert "quite-a-secret" not in words
    address_of("redis://localhost:2/0")
    assert scrub.hide_values("redis://localhost:2/0") == "redis://localhost:2/0"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("kafka://localhost", "no address of a broker"),
        ("amqp://broker.example.com:5672/", "clear text"),
        ("redis://10.0.0.1", "clear text"),
        ("sqs://key:secret@eu-west-1", "holds credentials"),
        ("amqp://localhost:99999", "no address"),
        ("amqp://localhost/?password=hidden-word", "amqp:// takes no parameters"),
        ("rediss://localhost/?password=hidden-word", "unknown or empty"),
        ("amqps://localhost/?hidden-word", "unknown or empty"),
        ("amqps://localhost/?verify=verify_none", "unknown or empty"),
        ("rediss://localhost/?ssl_cert_reqs=none", "unknown or empty"),
        ("amqps://localhost/?cacertfile=/no/such/file", "cacertfile /no/such/file: No such file"),
        ("rediss://localhost/?ssl_ca_certs=/dev/null", "cacertfile /dev/null: no certificate"),
        ("rediss://localhost/?ssl_certfile=/no/such/file", "certfile /no/such/file: No such file"),
    ],
)
def test_mistakes_say_no_more_than_they_must(url: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        address_of(url)
    assert "secret" not in str(caught.value)
    assert "hidden-word" not in str(caught.value)


def test_clear_text_can_be_allowed() -> None:
    assert address_of("amqp://broker.example.com", allow_insecure=True).shown == "amqp://broker.example.com:5672"
