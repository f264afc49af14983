from tests.cli.conftest import serve, shell

__all__ = ["serve", "shell"]
