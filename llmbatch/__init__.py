"""llmbatch: one prompt over every row of a file, on an LLM, dependably.

The command line is the interface; see README.md. The package's modules are the steps a row takes:
source -> render -> ledger -> engine (provider inside retry, limits, budget) -> validate -> sink, report.
"""

__version__ = "0.1.0"
