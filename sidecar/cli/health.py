"""`sidecar health`: is a running proxy ready? Small and quick, for container health checks."""

from __future__ import annotations

import http.client
import sys


def split_address(text: str) -> tuple[str, int] | None:
    """`ADDRESS:PORT` of an admin address; None when it is not one."""
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()):
        return None
    return host.strip("[]"), int(port)


def health(admin: str, timeout_s: float) -> int:
    """0 when `GET /ready` of the admin address answers 200."""
    address = split_address(admin)
    if address is None:
        print(f"--admin {admin}: not ADDRESS:PORT", file=sys.stderr)
        return 1
    try:
        connection = http.client.HTTPConnection(*address, timeout=timeout_s)
        connection.request("GET", "/ready")
        response = connection.getresponse()
        state = response.read(64).decode("utf-8", "replace").strip()
    except (OSError, ValueError, http.client.HTTPException) as error:
        print(f"{admin}: {error}", file=sys.stderr)
        return 1
    print(state)
    return 0 if response.status == 200 else 1
