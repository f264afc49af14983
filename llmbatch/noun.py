"""Dataclasses that are made a dozen times a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

__all__ = ["noun"]

if TYPE_CHECKING:
    from dataclasses import dataclass as noun
else:

    def noun(*, frozen, slots):
        """Make a dataclass that is frozen to the type checker.

        At run time it is not, because a frozen one takes nine times as long to make: a Reply 1.8 us instead of 0.2.
        """
        return dataclass(slots=slots, unsafe_hash=frozen)
