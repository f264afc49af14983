"""moto's server, fit for queues of many thousand messages: only its clock and its counts are replaced.

As it comes, moto looks at its clock (14 us) four times for each message of a queue whenever one is sent.
"""

from __future__ import annotations

import sys
import time

from moto.server import main
from moto.sqs import models

models.unix_time_millis = lambda: time.time() * 1e3
for name in ("", "_delayed", "_not_visible"):  # they are called approximate
    setattr(models.Queue, f"approximate_number_of_messages{name}", 0)

if __name__ == "__main__":
    main(sys.argv[1:])
