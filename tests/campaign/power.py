"""A power cut: what the disk did not keep of a run that is dead.

The last commit that anybody was told of is synced. Of the log beyond it any part may be there: the file ends early, or
its end is zeros or junk, where a file system wrote the new length before the bytes. The record of the last attempt's
number (``.seq``) is never synced in a run, so it may be older.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from llmbatch.ledger import beside
from llmbatch.simulator import Simulator
from tests.campaign.nights import INPUT, Folder

_HOW = ("cut", "cut", "zeros", "junk")
_RECENT = 40  #: commits that the record may lag behind


@dataclass(frozen=True)
class Torn:
    """What was done to the log."""

    how: str
    at: int  #: first byte that the disk did not keep
    lost: int  #: bytes from there on
    by_hand: bool = False  #: the next run refused it, and `doctor --repair` was needed


def cut_power(folder: Folder, server: Simulator, rng: random.Random) -> Torn | None:
    """Tear the log somewhere after the last acknowledged commit, and mend it as a person would.

    None when the log has nothing beyond it, or is being taken into the database.
    """
    acknowledged, size = folder.last_note.wal_bytes, folder.wal_bytes
    if size <= acknowledged or folder.checkpoints_often:
        return None
    at, how = rng.randrange(acknowledged, size), rng.choice(_HOW)
    with folder.wal.open("r+b") as log:
        log.truncate(at)
        log.seek(at)
        log.write({"cut": b"", "zeros": bytes(size - at), "junk": rng.randbytes(size - at)}[how])
    beside(folder.ledger).write_bytes(b"%020d\n" % rng.choice(folder.notes[-_RECENT:]).seq)
    return Torn(how, at, size - at, by_hand=_mend(folder, server))


def _mend(folder: Folder, server: Simulator) -> bool:
    """Do what doctor says; False when nothing is to be done."""
    told = folder.doctor()
    if told["healthy"]:
        return False
    asked = server.account.total.requests
    refused = folder.begin(INPUT, server)
    _, err = refused.communicate()
    assert refused.returncode == 74, err
    assert "llmbatch doctor" in err
    assert server.account.total.requests == asked
    mended = folder.doctor("--repair")["repair"]
    assert mended["attempts_dropped"] == 0, mended
    assert folder.doctor()["healthy"]
    return True
