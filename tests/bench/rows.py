"""What is measured: the rows of the table, who takes part, and what is aimed at."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

#: In the order of the columns. The first is the measure of the others, the second is this proxy with its compiled modules, as
#: images have it, the third the same with metadata exchange and Istio's metrics, and the fourth the same sources as Python runs them.
ENVOY, SIDECAR, ISTIO, PURE, HAPROXY, NGINX = COMPETITORS = (
    "envoy",
    "sidecar",
    "istio",
    "pure",
    "haproxy",
    "nginx",
)
OURS = (SIDECAR, PURE)

#: The load goes to the backend itself: the limit of machine, client and backend.
DIRECT = "direct"


@dataclass(frozen=True)
class Row:
    """A path through a proxy, and the load on it."""

    key: str
    title: str
    unit: str = "1000 requests"
    """What the CPU seconds are for."""
    target: float | None = None
    """The most that this proxy (compiled) may use, as a ratio to Envoy."""

    @property
    def count(self) -> int:
        """Requests, messages or bytes in a unit."""
        return 2**30 if self.unit == "GiB" else 1000


ROWS = (
    Row("http", "HTTP/1.1 plaintext, 1 KiB answers", target=1.2),
    Row("mtls", "HTTP/1.1 behind mutual TLS (server side)", target=1.2),
    Row("mtls_client", "HTTP/1.1 to mutual TLS (client side)", target=1.2),
    Row("h2", "HTTP/2 plaintext to HTTP/1.1"),
    Row("h2_mtls", "HTTP/2 behind mutual TLS to HTTP/1.1 (server side)", target=2.0),
    Row("grpc", "gRPC, messages of 100 bytes, HTTP/2 to HTTP/2"),
    Row("grpc_mtls", "gRPC behind mutual TLS (server side), HTTP/2 to HTTP/2", target=2.0),
    Row("tcp", "TCP relay, messages of 64 bytes", unit="1000 messages", target=1.0),
    Row("tcp_bulk", "TCP bulk, plaintext", unit="GiB", target=0.8),
    Row("tcp_bulk_mtls", "TCP bulk behind mutual TLS (server side)", unit="GiB", target=1.3),
)

#: Rows whose client is an Envoy that originates mutual TLS, and the protocol that it offers by ALPN.
SECURED = {"mtls": "http/1.1", "h2_mtls": "h2", "grpc_mtls": "h2", "tcp_bulk_mtls": ""}

#: Everything else that `--only` chooses, in the order in which it runs.
TELEMETRY = "telemetry"
TELEMETRY_PACED = "telemetry_paced"
WORKERS = "workers"
PAIR = "pair"
POD = "pod"
MEMORY = "memory"
TLS_CONNECTIONS = "tls_connections"
START = "start"
OTHERS = (TELEMETRY, TELEMETRY_PACED, WORKERS, PAIR, POD, MEMORY, TLS_CONNECTIONS, START)

#: Targets of what is no row of CPU cost.
TARGET_TELEMETRY_RATIO = {"full": 1.25, "custom": 1.6}
"""To the same proxy without telemetry."""
TARGET_TELEMETRY_TO_ENVOY_RATIO = 1.2
"""Of this proxy with all telemetry to Envoy without any."""
#: Below what the slowest of the measured proxies can do with all telemetry.
PACED_PER_SECOND = 4000
TARGET_SCALING = 1.7
TARGET_PAIR_P99_RATIO = 1.5
TARGET_PAIR_P90_MS = 3.3
TARGET_START_S = 0.6
TARGET_TLS_CONNECTION_KIB = 60.0


def repetitions_of(name: str, repetitions: int) -> int:
    """How often a competitor is measured: those that nothing is aimed at are not worth as much time."""
    if name in (ENVOY, SIDECAR):
        return repetitions
    return max(repetitions - 1, 1) if name in (PURE, ISTIO) else 1


def seconds_of(name: str, seconds: float) -> float:
    """How long each time; as `repetitions_of`."""
    return seconds if name in (ENVOY, SIDECAR) else min(seconds, 1.0)


def chosen(names: Iterable[str], pattern: str | None) -> list[str]:
    """Those of `names` in which the regular expression `pattern` is found; all of them without one."""
    return [name for name in names if pattern is None or re.search(pattern, name)]
