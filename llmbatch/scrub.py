"""Words without secrets.

The gate for everything that is printed or stored and is not the program's own words: messages of errors, a provider's
answers to a fault, the command in a report. A secret is known by its value (keys read from a file, and variables of
the environment whose names say so) or by its form.
"""

from __future__ import annotations

import json
import os
import re
from urllib.parse import quote

HIDDEN = "[key]"
_LEAST = 8  #: characters of a value that is looked for; a shorter one would be found everywhere
_LEAST_REFUSED = 16  #: of a value that a pipeline must not hold; a shorter one may be a plain word

_SECRET_NAME = re.compile(r"_(API_?KEY|ACCESS_KEY|SECRET_KEY|AUTH_KEY|TOKEN|SECRET|PASSWORD)$|^(API_?KEY|TOKEN)$", re.I)
#: keys that providers give out. "sk-" needs a digit, so that "sk-learn-and-other-libraries" is none.
_KEY = (
    r"\bsk-(?=[\w.-]*\d)[\w.-]{16,}|\b[rsp]k_(?:live|test)_\w{8,}|\bgsk_\w{16,}|\bhf_\w{16,}|\bxai-[\w-]{16,}"
    r"|\bpplx-\w{16,}|\bnvapi-[\w-]{16,}|\br8_\w{16,}|\bAIza[\w-]{30,}|\bAKIA[A-Z\d]{16}\b|\bgh[pousr]_\w{20,}"
    r"|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}|\bxox[abprs]-[\w-]{10,}|\beyJ[\w-]{8,}\.eyJ[\w-]{8,}(?:\.[\w-]*)?"
)
#: what stands where a key stands: after a header's or parameter's name, before a host, or half hidden by a server
_PLACE = (
    r"(?<![\w-])Bearer\s+[\w.~+/*=-]{6,}"
    r"|(?<=authorization)[\"']?\s*[:=]\s*[\"']?(?:\w+\s+)?[^\s\"',}]{6,}"
    r"|(?<=api-key|api_key)[\"']?\s*[:=]\s*[\"']?[^\s\"',&}]{6,}|(?<=apikey)[\"']?\s*[:=]\s*[\"']?[^\s\"',&}]{6,}"
    r"|(?<=://)[^\s/@]+(?=@)|\b(?:sk|gsk)[-_][\w*.-]{6,}|[\w.-]+\*{3,}[\w.-]*"
)
_KEYS = re.compile(_KEY)
#: JSON may hold these as they are, but a terminal that shows it would obey them
_OBEYED = re.compile(r"[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_FORMS = re.compile(f"{_KEY}|(?i:{_PLACE})")

_remembered: set[str] = set()


def remember(secret: str) -> None:
    """From now on, hide this value."""
    if len(secret) >= _LEAST:
        _remembered.add(secret)


def scrub(text: str) -> str:
    """The text of a message with ``[key]`` in place of every secret: known values, and whatever looks like a key."""
    return _FORMS.sub(HIDDEN, hide_values(text))


def fault_in_words(fault: BaseException) -> str:
    """A library's fault in few words: its type and its first line, without what that may quote of an address."""
    words = scrub(str(fault)).partition("\n")[0][:200]
    return f"{type(fault).__name__}: {words}" if words else type(fault).__name__


def hide_values(text: str) -> str:
    """Data with ``[key]`` in place of the values of known secrets, as they are, in JSON or in a URL."""
    for secret in sorted(_secrets(), key=len, reverse=True):
        for spelling in {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}:
            text = text.replace(spelling, HIDDEN)
    return text


def escaped(text: str) -> str:
    """JSON with escapes in place of what a terminal would obey: the same data, without the values of secrets."""
    return hide_values(_OBEYED.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


def holds_key(text: str) -> bool:
    """Whether a text that a person wrote holds an API key: one of a known form, or the value of a known secret."""
    return _KEYS.search(text) is not None or any(len(s) >= _LEAST_REFUSED and s in text for s in _secrets())


def _secrets() -> set[str]:
    named = {value.strip() for name, value in os.environ.items() if _SECRET_NAME.search(name)}
    return _remembered | {value for value in named if len(value) >= _LEAST}
