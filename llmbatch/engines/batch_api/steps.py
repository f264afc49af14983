"""Names of the moments at which a process may die; the tests end it at each of them."""

from __future__ import annotations

STEPS = (
    "filling",  # a part of a batch's requests is stored, its intent is not
    "meant",  # the intent is stored
    "uploaded",  # the upload is done, and not noted
    "upload_noted",
    "created",  # the batch is created, and not noted
    "creation_noted",
    "ended",  # its last state was seen, and not noted
    "end_noted",
    "partly_collected",  # some of its answers are stored
    "answers_stored",  # all of them are
    "collection_noted",  # and the batch is done with
    "removed",  # its upload is removed, and that is not noted
)


def passed(step: str) -> None:
    """A moment has passed."""
    assert step in STEPS
