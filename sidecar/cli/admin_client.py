"""A question to the admin port of a running proxy, for people: what comes back is shown on a terminal, so it is not trusted."""

from __future__ import annotations

import errno
import http.client
import socket
from typing import Final, NamedTuple

from sidecar.telemetry.printable import printable, printable_lines

#: More of an answer is not read.
_MAX_BYTES: Final = 16 << 20


class Answer(NamedTuple):
    """`text` holds no control characters but newlines."""

    status: int
    text: str


class NoAnswer(Exception):
    """In words, with the address in front."""


def ask(admin: str, target: str, timeout_s: float, max_bytes: int = _MAX_BYTES) -> Answer:
    """`GET target` of the admin address `ADDRESS:PORT`. Raises NoAnswer."""
    address = _split(admin)
    if address is None:
        raise NoAnswer(f"--admin {printable(admin)}: not ADDRESS:PORT")
    connection = http.client.HTTPConnection(*address, timeout=timeout_s)
    try:
        connection.request("GET", target)
        response = connection.getresponse()
        text = response.read(max_bytes).decode("utf-8", "replace")
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise NoAnswer(f"{admin}: {_words(error, timeout_s)}") from error
    finally:
        connection.close()
    return Answer(response.status, printable_lines(text))


def _split(text: str) -> tuple[str, int] | None:
    """`ADDRESS:PORT` of an admin address; None when it is not one."""
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()):
        return None
    return host.strip("[]"), int(port)


def _words(error: Exception, timeout_s: float) -> str:
    """What hinders the answer, without numbers of the operating system."""
    if isinstance(error, ConnectionRefusedError):
        return (
            "nobody listens there (connection refused): is the proxy running, and is this its admin address?"
        )
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    if isinstance(error, socket.gaierror):
        return "the name of the host is not known"
    if isinstance(error, http.client.HTTPException):
        return "what answers there does not speak HTTP: is this the admin address?"
    if isinstance(error, OSError) and error.strerror:
        hint = " (is this the admin address?)" if error.errno == errno.ECONNRESET else ""
        return f"{error.strerror}{hint}"
    return printable(str(error))
