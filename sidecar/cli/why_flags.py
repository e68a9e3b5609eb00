"""What each response flag means, why it usually appears in a mesh, and where to look next. Read by `sidecar why`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Explanation:
    """`meaning` in one sentence; `causes` and `look` are lists of things to consider, the most common first."""

    meaning: str
    causes: tuple[str, ...]
    look: tuple[str, ...]


_CLUSTERS: Final = "/clusters: hosts, their health, cx_connect_fail and rq_error"
_FAILURES: Final = "/failures?flag={flag}: what happened to the last such requests, in words"

FLAGS: Final[dict[str, Explanation]] = {
    "UF": Explanation(
        "No connection to the upstream host could be made: refused, unreachable, too slow, or its TLS handshake failed.",
        (
            "nothing listens on that port: the application has not started, or listens on another port or on 127.0.0.1 only",
            "one side uses mTLS and the other does not (a DestinationRule that disagrees with PeerAuthentication)",
            "the certificate is expired, comes from another CA, or names another identity than configured",
            "a network policy or firewall drops packets: then it takes the whole connect timeout",
            "the endpoint is gone and the list of endpoints is old",
        ),
        (
            "cluster.NAME.upstream_cx_connect_fail, upstream_cx_connect_timeout, cluster.NAME.ssl.*",
            "/certs: what is in use and until when; setting: connect_timeout, transport_socket of the cluster",
            _CLUSTERS,
        ),
    ),
    "UC": Explanation(
        "The upstream ended the connection while a request was on it.",
        (
            "its idle timeout is shorter than ours, so it closes just as the next request is sent (a POST is not repeated)",
            "the application crashed, was killed (memory limit) or restarted without draining",
            "a load balancer or firewall in between drops idle connections",
            "the application answers and closes without having read the whole request",
        ),
        (
            "/failures: age and idle time of the connection; an idle time that is always about the same is a timeout",
            "cluster.NAME.upstream_cx_destroy_remote_with_active_rq",
            "setting: idle_timeout of the cluster below that of the application; retry_on: reset, or reset-before-request",
        ),
    ),
    "UR": Explanation(
        "The upstream reset the stream (HTTP/2 RST_STREAM) or, in a TCP session, the connection.",
        (
            "REFUSED_STREAM: more streams at once than it allows, or it is shutting down",
            "CANCEL or INTERNAL_ERROR: its handler gave up; gRPC servers do so at a deadline",
            "ENHANCE_YOUR_CALM: it thinks that we send too much (pings, resets)",
            "TCP: the application closed its socket with unread data in it, or died",
        ),
        (
            "/failures: the RST_STREAM code",
            "cluster.NAME.upstream_rq_rx_reset, cluster.NAME.http2.rx_reset; the application's own log",
            "setting: retry_on: refused-stream, reset",
        ),
    ),
    "UT": Explanation(
        "The upstream took longer than the route's timeout, or each attempt longer than its per-try timeout (504).",
        (
            "the application is slow or overloaded, or waits for something slow itself",
            "the timeout is shorter than the work takes; the default of a route is 15 s, Istio sets none",
            "the caller asked for a short one (x-envoy-upstream-rq-timeout-ms, grpc-timeout)",
        ),
        (
            "cluster.NAME.upstream_rq_timeout, upstream_rq_per_try_timeout, upstream_rq_time",
            "setting: timeout and retry_policy.per_try_timeout of the route",
        ),
    ),
    "UH": Explanation(
        "The cluster has no host that may be chosen (503, no healthy upstream).",
        (
            "the service has no ready endpoints: all pods are down, or none matches its selector",
            "a subset is asked for whose labels no endpoint has",
            "all hosts are marked unhealthy by the source of the endpoints",
            "DNS of a STRICT_DNS or LOGICAL_DNS cluster has not been answered yet",
        ),
        (
            "cluster.NAME.membership_total, membership_healthy, upstream_cx_none_healthy, update_failure",
            _CLUSTERS,
        ),
    ),
    "UO": Explanation(
        "A circuit breaker of the cluster was open: the request was not sent (503, x-envoy-overloaded).",
        (
            "more connections, pending or active requests or retries at once than allowed",
            "the upstream became slow, so requests pile up: look for what made it slow",
            "the limits are those of a small service (default 1024, and 3 for retries)",
        ),
        (
            "cluster.NAME.upstream_cx_overflow, upstream_rq_{pending,active,retry}_overflow",
            "setting: circuit_breakers of the cluster (DestinationRule connectionPool); /clusters shows the limits",
        ),
    ),
    "URX": Explanation(
        "The retries were used up (or, in TCP, the connect attempts): a second flag says how the last one failed.",
        (
            "the upstream fails the same way each time: solve the other flag",
            "num_retries is too small for a service whose hosts are replaced one after the other",
            "retries go to the same bad host",
        ),
        (
            "/failures lists every attempt with its host and outcome",
            "cluster.NAME.upstream_rq_retry, upstream_rq_retry_limit_exceeded, upstream_cx_connect_attempts_exceeded",
            "setting: retry_policy.num_retries, max_connect_attempts of tcp_proxy",
        ),
    ),
    "UPE": Explanation(
        "The upstream broke HTTP: its answer could not be understood (502).",
        (
            "the port speaks another protocol, or HTTP/2 is spoken to an HTTP/1 server (protocol of the port, h2c)",
            "the answer was cut off in its middle: the connection ended inside of a head or a chunk",
            "forbidden characters in headers, or both content-length and transfer-encoding",
        ),
        (
            "cluster.NAME.upstream_cx_protocol_error, cluster.NAME.http2.*",
            "/failures: what the codec did not like; setting: name or appProtocol of the service's port",
        ),
    ),
    "LR": Explanation(
        "This proxy reset the stream to the upstream.",
        (
            "the answer could not be written or was over a limit of ours",
            "a head that HTTP cannot carry was made by a filter or a header rule",
        ),
        ("cluster.NAME.upstream_rq_tx_reset; the proxy's log at level debug",),
    ),
    "UMSDR": Explanation(
        "The upstream stream lasted longer than its allowed duration.",
        ("max_stream_duration of the cluster or route is shorter than the stream is meant to live",),
        ("cluster.NAME.upstream_rq_max_duration_reached; setting: max_stream_duration",),
    ),
    "NR": Explanation(
        "No route matches the request (404); or no filter chain takes the connection.",
        (
            "the Host header is not among the domains of any virtual host (a port in it, or a name without namespace)",
            "the path or headers match none of the routes",
            "connection: its SNI or destination matches no chain, for instance plaintext where mTLS is required",
        ),
        (
            "/config_dump: route configurations and filter chains",
            "http.PREFIX.no_route, listener.ADDRESS.no_filter_chain_match",
        ),
    ),
    "NC": Explanation(
        "The route, or tcp_proxy, names a cluster that this proxy does not have (503).",
        (
            "the service or subset was removed or is misspelt, and the route still points to it",
            "the configuration of clusters has not arrived, or was refused",
        ),
        ("/clusters, /config_dump; http.PREFIX.no_cluster, tcp.PREFIX.downstream_cx_no_route",),
    ),
    "DC": Explanation(
        "The client ended its connection before it had the whole answer.",
        (
            "the client's own timeout is shorter than the answer takes (then the duration is always about the same)",
            "a user closed the page, or a client was restarted",
            "a balancer in front has an idle or request timeout",
        ),
        (
            "/failures: after how many ms, with FIN or RST, and which upstream was waited for",
            "http.PREFIX.downstream_cx_destroy_remote_active_rq; cluster.NAME.upstream_rq_time",
        ),
    ),
    "DR": Explanation(
        "The client reset the stream (HTTP/2 RST_STREAM).",
        (
            "the caller cancelled: a deadline passed, or it does not want the answer any more (gRPC cancel)",
            "a request over the limits of this proxy",
        ),
        (
            "http.PREFIX.downstream_rq_rx_reset, http2.rx_reset; /failures: the code, and how long it had waited",
        ),
    ),
    "DPE": Explanation(
        "The client broke HTTP: its request could not be understood (400 or 431), or its HTTP/2 connection was ended.",
        (
            "something that is no HTTP, or TLS, was sent to a plain HTTP port",
            "headers larger or more than allowed; forbidden characters; a header name with an underscore where refused",
            "both content-length and transfer-encoding (request smuggling)",
        ),
        (
            "the response code details say which rule (http1.*, http2.*)",
            "http.PREFIX.downstream_cx_protocol_error; setting: max_request_headers_kb, common_http_protocol_options",
        ),
    ),
    "SI": Explanation(
        "Nothing moved on the stream for the stream idle timeout (408 or 504).",
        (
            "the upstream works for long without sending anything (default 5 min)",
            "the client does not send the rest of its request",
            "a long-lived stream without heartbeats (gRPC streaming, WebSocket)",
        ),
        ("http.PREFIX.downstream_rq_idle_timeout; setting: stream_idle_timeout, idle_timeout of the route",),
    ),
    "DT": Explanation(
        "The request or TCP session took longer than it may.",
        ("max_stream_duration or max_downstream_connection_duration is too short for this kind of traffic",),
        ("http.PREFIX.downstream_rq_max_duration_reached, tcp.PREFIX.max_downstream_connection_duration",),
    ),
    "IH": Explanation(
        "The request had an invalid value in a header that Envoy reads strictly (400).",
        ("x-envoy-* headers of a client with values that are no numbers, in strict mode",),
        ("setting: strict_check_headers of the router",),
    ),
    "LH": Explanation(
        "This service had failed the health check that its own proxy answers.",
        ("the health check filter was told to fail: /healthcheck/fail, or the process drains",),
        ("/server_info, /ready; POST /healthcheck/ok",),
    ),
    "DF": Explanation(
        "The name of the upstream could not be resolved.",
        ("the name is misspelt or does not exist", "the DNS server is not reached from this pod"),
        ("cluster.NAME.update_failure; setting: dns_lookup_family, /etc/resolv.conf of the pod", _CLUSTERS),
    ),
    "RL": Explanation(
        "A rate limit refused the request (429).",
        ("the caller sends more than it may", "the descriptor is too coarse: all callers share one limit"),
        ("http.PREFIX.ratelimit.*, http_local_rate_limiter.*; setting: the rate limit filter of the route",),
    ),
    "RLSE": Explanation(
        "The rate limit service failed, and the filter refuses then.",
        ("the service is down or slow",),
        ("cluster of the rate limit service; setting: failure_mode_deny",),
    ),
    "UAEX": Explanation(
        "The external authorization service refused the request.",
        (
            "the caller lacks a valid token or permission",
            "the authorization service failed and the filter denies then",
        ),
        ("http.PREFIX.ext_authz.denied, .error; setting: failure_mode_allow",),
    ),
    "DI": Explanation(
        "A delay was injected on purpose (fault filter).",
        ("a VirtualService with fault.delay is in force",),
        ("/config_dump; http.PREFIX.fault.delays_injected",),
    ),
    "FI": Explanation(
        "The request was aborted on purpose (fault filter).",
        ("a VirtualService with fault.abort is in force",),
        ("/config_dump; http.PREFIX.fault.aborts_injected",),
    ),
    "RFCF": Explanation(
        "The answer came from a cache filter. This is no failure.",
        ("a cache filter is configured",),
        ("the configuration of that filter",),
    ),
    "NFCF": Explanation(
        "The configuration of a filter had not come, so the request was refused.",
        ("the control plane has not sent an extension configuration, or it was refused",),
        ("the log of the proxy and of the control plane",),
    ),
    "OM": Explanation(
        "The overload manager ended the request.",
        ("memory or connections of the proxy are near their limit",),
        ("listener.ADDRESS.downstream_global_cx_overflow, server.memory_*; setting: overload_manager",),
    ),
    "DO": Explanation(
        "The request was dropped because the endpoints' source asks for a part of the load to be dropped.",
        ("drop_overloads in the cluster's endpoints",),
        ("cluster.NAME.upstream_rq_drop_overload",),
    ),
    "UDO": Explanation(
        "All requests to the cluster are dropped on request of the endpoints' source.",
        ("drop_overloads of 100 % in the cluster's endpoints",),
        ("cluster.NAME.upstream_rq_drop_overload",),
    ),
}


def looks(flag: str) -> tuple[str, ...]:
    """Where to look next for a flag, the records of this proxy first."""
    return (_FAILURES.format(flag=flag), *(each for each in FLAGS[flag].look))
