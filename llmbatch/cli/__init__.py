"""The command line: the only print, the only wiring. Each command imports what it needs when it is called."""

from llmbatch.cli.app import main

__all__ = ["main"]
