"""The clients that make the load, and what is read from what they print. None of them believes in a failed request."""

from __future__ import annotations

import json
import math
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.support.envoy import require_program
from tests.support.process import REPOSITORY

#: `h2load` opens this many streams on each connection.
STREAMS = 8
_TIMEOUT_S = 60.0


def _run(command: Sequence[str], seconds: float) -> str:
    """Standard output. Raises CalledProcessError and TimeoutExpired."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=REPOSITORY, timeout=seconds + _TIMEOUT_S
    )
    return done.stdout


class Answered(NamedTuple):
    """What was done, and how long the load itself took, without the start of the client."""

    count: float
    seconds: float


_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def read_wrk(output: str) -> Answered:
    """The number of requests answered. Raises RuntimeError when any failed."""
    match = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m|h),", output)
    if match is None or "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(output)
    return Answered(int(match[1]), float(match[2]) * _SECONDS[match[3]])


def read_h2load(output: str) -> Answered:
    """The number of requests answered. Raises RuntimeError when any failed or was answered with an error."""
    match = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", output)
    time = re.search(r"finished in ([\d.]+)(us|ms|s|m|h),", output)
    if (
        match is None
        or time is None
        or int(match[2])
        or int(match[3])
        or re.search(r"[1-9]\d* [345]xx", output)
    ):
        raise RuntimeError(output)
    return Answered(int(match[1]), float(time[1]) * _SECONDS[time[2]])


def wrk(
    port: int, seconds: float, connections: int, headers: Sequence[str] = (), path: str = "/"
) -> Answered:
    """GET over HTTP/1.1 as fast as it goes, for whole seconds (rounded up); the answers."""
    return read_wrk(_run(wrk_command(port, seconds, connections, headers, path), seconds))


def wrk_command(
    port: int, seconds: float, connections: int, headers: Sequence[str] = (), path: str = "/"
) -> list[str]:
    command = [
        require_program("wrk", "wrk"),
        "-t",
        "1",
        "-c",
        str(connections),
        "-d",
        f"{math.ceil(seconds)}s",
    ]
    for header in headers:
        command += ["-H", header]
    return [*command, f"http://127.0.0.1:{port}{path}"]


def h2load(
    port: int,
    *,
    seconds: float = 0.0,
    requests: int = 0,
    connections: int,
    path: str = "/",
    options: Sequence[str] = (),
    headers: Sequence[str] = (),
    http1: bool = False,
    per_second: int = 0,
) -> Answered:
    """For `seconds`, or until `requests` are answered; the answers. `per_second` 0: as fast as it goes."""
    command = [require_program("h2load", "nghttp2-client"), "-c", str(connections)]
    command += ["--h1"] if http1 else ["-m", str(STREAMS)]
    command += ["-n", str(requests)] if requests else ["-D", f"{max(round(seconds * 1000), 1)}ms"]
    if per_second:
        command.append(f"--rps={per_second // connections}")
    for header in headers:
        command += ["-H", header]
    return read_h2load(_run([*command, *options, f"http://127.0.0.1:{port}{path}"], seconds))


def messages(port: int, seconds: float, connections: int) -> Answered:
    """TCP messages of 64 bytes, one in flight on each connection; those that came back."""
    command = [
        sys.executable,
        "-m",
        "tests.bench.echo",
        "client",
        str(port),
        str(connections),
        "64",
        str(seconds),
    ]
    return Answered(int(_run(command, seconds)), seconds)


def bulk(port: int, seconds: float, connections: int) -> Answered:
    """TCP bytes received from a backend that sends as much as it can."""
    command = [sys.executable, "-m", "tests.bench.bulk", "client", str(port), str(connections), str(seconds)]
    return Answered(int(_run(command, seconds)), seconds)


@dataclass(frozen=True)
class Latencies:
    """Milliseconds from when a request was due to the end of its answer."""

    p50_ms: float
    p90_ms: float
    p99_ms: float


def percentiles(latencies_s: Sequence[float]) -> Latencies:
    """Raises ValueError for fewer than two."""
    if len(latencies_s) < 2:
        raise ValueError("percentiles of fewer than two latencies")
    cuts = statistics.quantiles(latencies_s, n=100, method="inclusive")
    return Latencies(cuts[49] * 1000, cuts[89] * 1000, cuts[98] * 1000)


def constant_rate(
    port: int, seconds: float, *, connections: int, per_second: float, body: Path
) -> tuple[int, Latencies]:
    """POST `body` at a constant rate over HTTP/1.1; the number of answers, and how late they were."""
    command = [sys.executable, "-m", "tests.bench.pace", str(port), str(connections), f"{per_second:g}"]
    found = json.loads(_run([*command, f"{seconds:g}", str(body)], seconds))
    return len(found), percentiles(found)
