"""llmbatch simulate: a rehearsal server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXIT_STATUS = """EXIT STATUS

0 stopped by a signal
1 fault in llmbatch
2 mistake in usage or in the scenario
74 the account cannot be written"""


def simulate(
    scenario: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="good-night, bad-night, rate-limited or a TOML file.")
    ] = "good-night",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8765,
    account: Annotated[
        Path | None, typer.Option("--account", metavar="FILE", help="Write what was asked and paid here at the end.")
    ] = None,
) -> None:
    """An OpenAI-compatible server with scripted faults, to rehearse a night before spending."""
    from llmbatch.simulator import load_scenario, run

    loaded = load_scenario(scenario)

    def ready(url: str) -> None:
        typer.echo(f"llmbatch simulator, scenario {scenario}: {url}")
        typer.echo(
            f"  llmbatch run PIPELINE --input FILE --base-url {url} --ledger rehearsal.duckdb --output rehearsal"
        )
        typer.echo(f"  account: {url.removesuffix('/v1')}/account    stop: Ctrl-C")

    run(loaded, host, port, account_file=account, on_ready=ready)
