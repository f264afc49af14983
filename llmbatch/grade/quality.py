"""How good a run was: what report.json keeps under ``quality``."""

from __future__ import annotations

from dataclasses import dataclass

from llmbatch.grade.canary import Canary
from llmbatch.grade.compare import Drift
from llmbatch.grade.profile import Profile, Signature
from llmbatch.grade.scores import Graded


@dataclass(frozen=True, slots=True)
class Quality:
    """The graders' verdict on all rows, and the profile of the newly answered ones against the nights before."""

    graders: tuple[Graded, ...]
    graded_part: float  #: of the rows with an outcome, 0 to 1: chosen by their keys
    profile: Profile
    signature: Signature
    drift: Drift | None  #: None: not compared, because ``on_drift = "off"`` or the run stopped early
    canary: Canary | None = None  #: None: no gold file, or the run stopped before it was through
    unasked: tuple[str, ...] = ()  #: graders that ask a model, which a run does not

    @property
    def below_floor(self) -> tuple[Graded, ...]:
        """Graders whose mean is below their floor with confidence."""
        return tuple(graded for graded in self.graders if graded.below_floor)
