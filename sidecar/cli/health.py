"""`sidecar health`: is a running proxy ready? Small and quick, for container health checks."""

from __future__ import annotations

import sys

from sidecar.cli.admin_client import NoAnswer, ask

_MAX_BYTES = 64


def health(admin: str, timeout_s: float) -> int:
    """0 when `GET /ready` of the admin address answers 200."""
    try:
        answer = ask(admin, "/ready", timeout_s, _MAX_BYTES)
    except NoAnswer as error:
        print(error, file=sys.stderr)
        return 1
    print(answer.text.strip())
    return 0 if answer.status == 200 else 1
