"""Where this proxy differs from Envoy on the bootstraps of the differential test, each with its reason.

The lists are short on purpose. A series that matches an entry is not compared; everything else must be equal in name,
labels and value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.support.prometheus_text import Labels


@dataclass(frozen=True)
class SeriesDifference:
    """Series whose name matches `name`, with the label `label` and in the bootstrap `bootstrap` if given, are left out."""

    name: str
    reason: str
    label: tuple[str, str] | None = None
    bootstrap: str | None = None

    def covers(self, bootstrap: str, name: str, labels: Labels) -> bool:
        return (
            re.fullmatch(self.name, name) is not None
            and (self.label is None or self.label in labels)
            and self.bootstrap in (None, bootstrap)
        )


SERIES = (
    SeriesDifference(
        r"envoy_http_.*",
        "the admin interface counts the test's own scrapes",
        ("envoy_http_conn_manager_prefix", "admin"),
    ),
    SeriesDifference(r"envoy_listener_admin_.*", "the admin interface counts the test's own scrapes"),
    SeriesDifference(
        r"envoy_server_(memory_.*|uptime|version|stats_recent_lookups|initialization_time_ms_count)",
        "facts of the program itself: memory, age, version",
    ),
    SeriesDifference(
        r"envoy_thread_local_cluster_manager_.*",
        "Envoy's thread-local copies of clusters; there are none here",
    ),
    SeriesDifference(r"envoy_failures_.*", "the kinds of failures are counted by this proxy alone"),
    SeriesDifference(
        r".*_connections_accepted_per_socket_event_count", "batches of accept(2) inside Envoy's event loop"
    ),
    SeriesDifference(
        r"envoy_listener_ssl_(curves|sigalgs)|envoy_cluster_ssl_(curves|sigalgs)",
        "Python's ssl does not tell the group and the signature algorithm of a handshake",
    ),
    SeriesDifference(r".*_cx_[rt]x_bytes_buffered", "a moment's fill of Envoy's internal buffers"),
    SeriesDifference(
        r".*_upstream_cx_connect_ms_count", "depends on which connections the pool opened early"
    ),
    SeriesDifference(
        r"envoy_cluster_upstream_(cx|rq)_.*",
        "an upstream is opened only for a client whose handshake succeeded; Envoy opens it with the connection",
        ("envoy_cluster_name", "echo"),
        "tcp-tls",
    ),
    SeriesDifference(
        r"envoy_tcp_downstream_cx_total",
        "a TCP session begins when the handshake has succeeded; Envoy counts it before",
        ("envoy_tcp_prefix", "a"),
        "tcp-tls",
    ),
    SeriesDifference(
        r"envoy_runtime_deprecated_feature_.*",
        "the use of deprecated fields (source_ip, metadata) is not counted",
        None,
        "rbac",
    ),
)

BYTES_TOLERANCE = 0.02
"""Byte counters may differ by this ratio: `x-envoy-upstream-service-time` has one or two digits."""

BYTES = re.compile(r".*_bytes_total")

OUTCOMES: dict[tuple[str, int], str] = {}
"""(bootstrap, number of the answer) to the reason why the answer differs."""

FORWARDED: dict[tuple[str, int], str] = {}
"""(bootstrap, number of the step) to the reason why what reaches the backend differs."""

H2_UPSTREAM = {
    "goaway": "a request behind the last stream of a GOAWAY was not processed: it is sent again here without a retry policy",
    "first burst": "none fails here for a limit of the upstream that the proxy does not know yet: they wait or are sent again",
    "starved window": "Envoy waits until half the window of a connection is read, of which held streams may keep more",
}
"""Where a test of HTTP/2 upstreams expects of this proxy what Envoy does not do."""

CONNECT = {
    "end before window": "Envoy resets a stream whose upstream has ended, also when the client's window holds data back",
}
"""The same for CONNECT."""

ACCESS_LOG_LINES: dict[tuple[str, int], str] = {
    ("decompressed-header-bytes", 12): "of a repeated request Envoy counts what it received twice",
    ("cel-not-utf8", 0): "expressions see U+FFFD where a header is no UTF-8",
}
"""(log, number of the line) to the reason why the line differs."""

ACCESS_LOG_ENTRY_FIELDS: dict[str, str] = {}
"""Fields of entries for the access log service that are not compared, and why."""

FACTS_OF_FAILED_HANDSHAKES = dict.fromkeys(
    (
        "DOWNSTREAM_LOCAL_DNS_SAN",
        "DOWNSTREAM_LOCAL_URI_SAN",
        "DOWNSTREAM_TLS_CIPHER",
        "DOWNSTREAM_TLS_VERSION",
    ),
    "a handshake that failed leaves its reason only",
)
"""Operators that print something in Envoy and nothing here when the handshake has failed."""
