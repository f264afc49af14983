"""The table of a whole benchmark: a figure, what it must be, what it is, and the same of peers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Figure:
    """One line. ``most`` and ``least`` are what the figure may be; a figure without them is only told."""

    name: str
    unit: str
    ours: float
    most: float | None = None
    least: float | None = None
    peers: Mapping[str, float] = field(default_factory=dict)  #: by contender

    @property
    def met(self) -> bool | None:
        """Whether it is what it must be; None where nothing is asked."""
        if self.most is None and self.least is None:
            return None
        return (self.most is None or self.ours <= self.most) and (self.least is None or self.ours >= self.least)

    def cells(self, peers: Sequence[str]) -> list[str]:
        """Its cells: name, aim, ours, verdict, then each peer."""
        aim = f"<= {_number(self.most)}" if self.most is not None else ""
        aim = f">= {_number(self.least)}" if self.least is not None else aim
        verdict = {True: "yes", False: "NO", None: ""}[self.met]
        theirs = [_number(self.peers[peer]) if peer in self.peers else "" for peer in peers]
        return [f"{self.name}, {self.unit}", aim, _number(self.ours), verdict, *theirs]


def table(figures: Sequence[Figure]) -> str:
    """The lines as a Markdown table, wide enough to be read as it is."""
    peers = list(dict.fromkeys(peer for figure in figures for peer in figure.peers))
    head = ["figure", "must be", "llmbatch", "met", *peers]
    rows = [head, *(figure.cells(peers) for figure in figures)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    rule = " | ".join("-" * width for width in widths)
    return "\n".join(f"| {line} |" for line in (lines[0], rule, *lines[1:]))


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
