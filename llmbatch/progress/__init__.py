"""What a person sees of a run while it runs: a live display, lines, or nothing; and the status file."""

from llmbatch.progress.display import Display, Silent, choose
from llmbatch.progress.gauges import Gauges
from llmbatch.progress.meter import Meter
from llmbatch.progress.recorder import Recorder
from llmbatch.progress.snapshot import Snapshot, from_json
from llmbatch.progress.status import StatusFile, correct_batches, read_status

__all__ = [
    "Display",
    "Gauges",
    "Meter",
    "Recorder",
    "Silent",
    "Snapshot",
    "StatusFile",
    "choose",
    "correct_batches",
    "from_json",
    "read_status",
]
