"""What --otel costs an attempt: CPU of the thread that answers rows, and of the whole process.

    python -m tests.bench.telemetry

The collector is a process of its own. Attempts come 200 at a time, so that the queue of spans never fills.
"""

import os
import subprocess
import sys
import time

from llmbatch.outside.telemetry import Telemetry
from tests.outside.conftest import begun
from tests.outside.test_telemetry import attempt
from tests.progress.runs import Run

ATTEMPTS = 10_000
_SERVE = "from tests.outside.collector import Collector; c = Collector(); print(c.url, flush=True); c.serve_forever()"


def measure() -> str:
    """One run's attempts; microseconds each."""
    notes: list[str] = []
    telemetry = Telemetry(begun(params={"temperature": 0}), Run(3).meter, list, notes.append)
    attempts = [attempt(n) for n in range(ATTEMPTS)]
    process, thread = time.process_time(), time.thread_time()
    for n, one in enumerate(attempts, 1):
        telemetry.attempted(one)
        if n % 200 == 0:
            time.sleep(0.02)
    thread = time.thread_time() - thread
    telemetry.ended(None, "finished", 0)
    process = time.process_time() - process
    assert notes == [], notes
    return f"{thread / ATTEMPTS * 1e6:.0f} us on the run's thread, {process / ATTEMPTS * 1e6:.0f} us in all"


def main() -> None:
    with subprocess.Popen([sys.executable, "-c", _SERVE], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = server.stdout.readline().strip()
        for name, sampler in (("traces and metrics", "always_on"), ("metrics alone", "always_off")):
            os.environ["OTEL_TRACES_SAMPLER"] = sampler
            print(f"{name}: {measure()}")
        server.kill()


if __name__ == "__main__":
    main()
