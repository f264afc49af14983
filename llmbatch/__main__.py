"""Run as ``llmbatch`` or ``python -m llmbatch``."""

import sys

from llmbatch.cli import main

if __name__ == "__main__":
    sys.exit(main())
