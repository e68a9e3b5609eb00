"""One counter for each kind of failure of which the proxy keeps a record. Not Envoy's: the names are our own."""

from __future__ import annotations

from typing import Final

from stats.family import Family
from stats.metrics import Counter


class FailureStats(Family, suffix="_total"):
    """`failures`: requests, TCP sessions and connections that failed, by the kind of their cause."""

    circuit_breaker: Counter
    client_closed: Counter
    client_protocol: Counter
    client_reset: Counter
    client_timeout: Counter
    client_tls: Counter
    dns: Counter
    idle_timeout: Counter
    internal: Counter
    local_reply: Counter
    max_duration: Counter
    no_cluster: Counter
    no_filter_chain: Counter
    no_healthy_upstream: Counter
    no_route: Counter
    retried: Counter
    secret_missing: Counter
    upstream_closed: Counter
    upstream_connect: Counter
    upstream_connect_timeout: Counter
    upstream_protocol: Counter
    upstream_reset: Counter
    upstream_response: Counter
    upstream_timeout: Counter
    upstream_tls: Counter


#: All of them, in alphabetical order.
KINDS: Final = tuple(attribute for attribute, _, _ in FailureStats.PLAN)
