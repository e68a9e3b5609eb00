"""The real Envoy, as a peer and as the reference.

It is looked for in `SIDECAR_TEST_ENVOY`, then in the virtual environment that `make envoy` creates. Without it the
tests that need it are skipped with a message; under `CI=true` its absence is a failure.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.process import REPOSITORY, ProxyCommand

MISSING = "the real Envoy is not installed: run `make envoy` (or set SIDECAR_TEST_ENVOY to its path)"


def find_envoy() -> Path | None:
    """The path of the Envoy binary, None when there is none."""
    configured = os.environ.get("SIDECAR_TEST_ENVOY")
    if configured:
        return Path(configured)
    installed = REPOSITORY / ".venv-envoy" / "bin" / "envoy"
    return installed if installed.exists() else None


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("true", "1")


def missing(message: str) -> None:
    """Skip the test that needs what is missing; fail it under CI."""
    if in_ci():
        pytest.fail(message)
    pytest.skip(message)


def require_envoy() -> ProxyCommand:
    """The command that starts Envoy; skips or fails the test when it is not there."""
    path = find_envoy()
    if path is None or not path.exists():
        missing(MISSING)
    return ProxyCommand("envoy", [str(path), "--use-dynamic-base-id"])


def require_program(name: str, package: str) -> str:
    """The path of a program of the machine; `package` is what to install when it is missing."""
    path = shutil.which(name)
    if path is None:
        missing(f"{name} is not installed: install the package {package}")
    assert path is not None
    return path
