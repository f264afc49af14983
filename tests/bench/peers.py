"""Other tools to stand beside, each in an environment of its own outside the tree; without one its line says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LOOPS = Path(__file__).parent / "loops"
PEERS = {
    "litellm acompletion": ("litellm", "litellm_loop.py"),
    "bespokelabs-curator": ("bespokelabs-curator", "curator_loop.py"),
}
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llmbatch-bench"


def contenders(loop: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Commands by name, the loops of this environment first, and what to say of peers that are left out."""
    here = {
        "plain AsyncOpenAI loop": [sys.executable, str(LOOPS / "sdk.py"), *loop],
        "bare aiohttp loop": [sys.executable, str(LOOPS / "bare.py"), *loop],
    }
    left_out = []
    for name, (package, script) in PEERS.items():
        python = _environment(package)
        if python is None:
            left_out.append(f"{name}: left out, `pip install {package}` did not work here")
        else:
            here[f"{name} {_version(python, package)}"] = [str(python), str(LOOPS / script), *loop]
    return here, left_out


def _environment(package: str) -> Path | None:
    """The Python of an environment that has the package; made when missing, None when that fails."""
    folder = _CACHE / package
    python = folder / "bin/python"
    if _version(python, package):
        return python
    try:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
        install = [str(python), "-m", "pip", "install", "--quiet", package]
        subprocess.run(install, check=True, capture_output=True, timeout=900)
    except (subprocess.SubprocessError, OSError):
        return None
    return python


def _version(python: Path, package: str) -> str | None:
    ask = f"from importlib.metadata import version; print(version({package!r}))"
    if not python.exists():
        return None
    said = subprocess.run([str(python), "-c", ask], capture_output=True, text=True, check=False)
    return said.stdout.strip() if said.returncode == 0 else None
