"""Other processes of this program."""

from __future__ import annotations

import os
import sys


def command(module: str, *arguments: str) -> tuple[str, ...]:
    """What starts a module of this program; nothing is looked for in the current directory. Goes with `environment`."""
    return sys.executable, "-P", "-m", module, *arguments


def environment() -> dict[str, str]:
    """Ours, and modules are found where they are found here."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(each or os.getcwd() for each in sys.path)}
