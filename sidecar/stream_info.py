"""The facts gathered on the way of a connection and of a stream: what filters, stats and access logs read.

One `ConnectionInfo` for each downstream connection, one `StreamInfo` for each HTTP stream or TCP proxy session, one
`UpstreamInfo` for each attempt. What one filter finds out for others is a typed field here.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Final, Protocol

from config.model.core import EMPTY_METADATA, Address, Metadata, TrafficDirection
from protocols.grpc.framing import MessageCounter

if TYPE_CHECKING:
    from protocols.http.codec import HttpVersion, StreamMeter
    from protocols.http.headers import Headers
    from protocols.peer_metadata import KnownPeer, PeerMetadata
    from protocols.tls.certificate import PeerCertificate


class ResponseFlag:
    """Envoy's response flags as bits of an int (an IntFlag would cost a call for each use). `short_names` spells them."""

    FAILED_LOCAL_HEALTH_CHECK: Final = 1 << 0  # LH
    NO_HEALTHY_UPSTREAM: Final = 1 << 1  # UH
    UPSTREAM_REQUEST_TIMEOUT: Final = 1 << 2  # UT
    LOCAL_RESET: Final = 1 << 3  # LR
    UPSTREAM_REMOTE_RESET: Final = 1 << 4  # UR
    UPSTREAM_CONNECTION_FAILURE: Final = 1 << 5  # UF
    UPSTREAM_CONNECTION_TERMINATION: Final = 1 << 6  # UC
    UPSTREAM_OVERFLOW: Final = 1 << 7  # UO
    NO_ROUTE_FOUND: Final = 1 << 8  # NR
    DELAY_INJECTED: Final = 1 << 9  # DI
    FAULT_INJECTED: Final = 1 << 10  # FI
    RATE_LIMITED: Final = 1 << 11  # RL
    UNAUTHORIZED_EXTERNAL_SERVICE: Final = 1 << 12  # UAEX
    RATE_LIMIT_SERVICE_ERROR: Final = 1 << 13  # RLSE
    DOWNSTREAM_CONNECTION_TERMINATION: Final = 1 << 14  # DC
    UPSTREAM_RETRY_LIMIT_EXCEEDED: Final = 1 << 15  # URX
    STREAM_IDLE_TIMEOUT: Final = 1 << 16  # SI
    INVALID_ENVOY_REQUEST_HEADERS: Final = 1 << 17  # IH
    DOWNSTREAM_PROTOCOL_ERROR: Final = 1 << 18  # DPE
    UPSTREAM_MAX_STREAM_DURATION_REACHED: Final = 1 << 19  # UMSDR
    RESPONSE_FROM_CACHE_FILTER: Final = 1 << 20  # RFCF
    NO_FILTER_CONFIG_FOUND: Final = 1 << 21  # NFCF
    DURATION_TIMEOUT: Final = 1 << 22  # DT
    UPSTREAM_PROTOCOL_ERROR: Final = 1 << 23  # UPE
    NO_CLUSTER_FOUND: Final = 1 << 24  # NC
    OVERLOAD_MANAGER: Final = 1 << 25  # OM
    DNS_RESOLUTION_FAILED: Final = 1 << 26  # DF
    DROP_OVERLOAD: Final = 1 << 27  # DO
    DOWNSTREAM_REMOTE_RESET: Final = 1 << 28  # DR
    UNCONDITIONAL_DROP_OVERLOAD: Final = 1 << 29  # UDO


_SHORT_NAMES: Final = {
    getattr(ResponseFlag, name): short_name
    for name, short_name in (
        # Envoy prints flags in the order in which they were set; the verdict on retries comes before the failure itself.
        ("UPSTREAM_RETRY_LIMIT_EXCEEDED", "URX"),
        ("FAILED_LOCAL_HEALTH_CHECK", "LH"),
        ("NO_HEALTHY_UPSTREAM", "UH"),
        ("UPSTREAM_REQUEST_TIMEOUT", "UT"),
        ("LOCAL_RESET", "LR"),
        ("UPSTREAM_REMOTE_RESET", "UR"),
        ("UPSTREAM_CONNECTION_FAILURE", "UF"),
        ("UPSTREAM_CONNECTION_TERMINATION", "UC"),
        ("UPSTREAM_OVERFLOW", "UO"),
        ("NO_ROUTE_FOUND", "NR"),
        ("DELAY_INJECTED", "DI"),
        ("FAULT_INJECTED", "FI"),
        ("RATE_LIMITED", "RL"),
        ("UNAUTHORIZED_EXTERNAL_SERVICE", "UAEX"),
        ("RATE_LIMIT_SERVICE_ERROR", "RLSE"),
        ("DOWNSTREAM_CONNECTION_TERMINATION", "DC"),
        ("STREAM_IDLE_TIMEOUT", "SI"),
        ("INVALID_ENVOY_REQUEST_HEADERS", "IH"),
        ("DOWNSTREAM_PROTOCOL_ERROR", "DPE"),
        ("UPSTREAM_MAX_STREAM_DURATION_REACHED", "UMSDR"),
        ("RESPONSE_FROM_CACHE_FILTER", "RFCF"),
        ("NO_FILTER_CONFIG_FOUND", "NFCF"),
        ("DURATION_TIMEOUT", "DT"),
        ("UPSTREAM_PROTOCOL_ERROR", "UPE"),
        ("NO_CLUSTER_FOUND", "NC"),
        ("OVERLOAD_MANAGER", "OM"),
        ("DNS_RESOLUTION_FAILED", "DF"),
        ("DROP_OVERLOAD", "DO"),
        ("DOWNSTREAM_REMOTE_RESET", "DR"),
        ("UNCONDITIONAL_DROP_OVERLOAD", "UDO"),
    )
}


_FLAGS: Final[dict[str, int]] = {name: flag for flag, name in _SHORT_NAMES.items()}


#: How Envoy spells all of them.
FLAG_NAMES: Final = tuple(_FLAGS)


def flag_of(short_name: str) -> int:
    """The flag that Envoy spells so; 0 for one that does not exist."""
    return _FLAGS.get(short_name, 0)


@functools.lru_cache(maxsize=256)
def short_names(flags: int) -> str:
    """Flags that were set at once, as Envoy prints them: `URX,UF`; `-` when there is none."""
    return ",".join([name for flag, name in _SHORT_NAMES.items() if flags & flag]) or "-"


@dataclass(slots=True)
class TlsInfo:
    """What a finished handshake left behind, for either direction."""

    version: str  # "TLSv1.3"
    cipher: str  # OpenSSL name
    alpn: str  # negotiated protocol, "" if none
    sni: str = ""
    peer: PeerCertificate | None = None  # None: the peer showed no certificate
    local: PeerCertificate | None = None  # our own certificate
    peer_validated: bool = False


_connection_ids = itertools.count(1)


def next_connection_id() -> int:
    """A number that no other connection of this process has, downstream or upstream."""
    return next(_connection_ids)


class ConnectionMemory:
    """What was found out for the last message on a connection, on either side: the next one will mostly be of the same kind.

    Only who wrote it understands it, and whoever reads it checks that it still holds.
    """

    __slots__ = ("known_peer", "known_series")

    def __init__(self) -> None:
        #: who the exchange headers named
        self.known_peer: KnownPeer | None = None
        #: where Istio's metrics were counted (`telemetry.istio`)
        self.known_series: object | None = None


class ConnectionInfo(ConnectionMemory):
    """One downstream connection.

    `local_address` is what filters and chain match see: the original destination once a listener filter restored it
    (`local_address_restored`). `direct_remote_address` is the socket's peer even when PROXY protocol gave another.
    Times: `start_s` wall clock, `start_monotonic_ns` for durations.
    """

    __slots__ = (
        "application_protocols",
        "direct_local_address",
        "direct_remote_address",
        "downstream_peer",
        "filter_chain_name",
        "id",
        "listener_direction",
        "listener_name",
        "local_address",
        "local_address_restored",
        "local_principal",
        "peer_not_found",
        "peer_principal",
        "remote_address",
        "requested_server_name",
        "start_monotonic_ns",
        "start_s",
        "termination_details",
        "tls",
        "transport_failure_reason",
        "transport_protocol",
        "unexpected_protocol",
        "upstream_peer",
    )

    def __init__(
        self,
        remote_address: Address,
        local_address: Address,
        listener_name: str = "",
        listener_direction: TrafficDirection = TrafficDirection.UNSPECIFIED,
    ) -> None:
        super().__init__()
        self.id = next(_connection_ids)
        self.remote_address = remote_address
        self.direct_remote_address = remote_address
        self.local_address = local_address
        self.direct_local_address = local_address
        self.local_address_restored = False
        self.listener_name = listener_name
        self.listener_direction = listener_direction
        self.filter_chain_name = ""
        self.transport_protocol = ""  # "tls", "raw_buffer"; "" before detection (then taken as raw_buffer)
        self.unexpected_protocol = ""  # "TLS" where plaintext was expected, "HTTP" where TLS was
        self.requested_server_name = ""  # SNI, lower case
        self.application_protocols: tuple[
            str, ...
        ] = ()  # ALPN the client offered, or the HTTP inspector's finding
        self.tls: TlsInfo | None = None
        self.transport_failure_reason = ""  # `TLS_error:...`
        self.termination_details = ""
        #: peer metadata found by the TCP exchange or by discovery; lives as long as the connection
        self.downstream_peer: PeerMetadata | None = None
        self.upstream_peer: PeerMetadata | None = None
        self.peer_not_found = False
        #: `io.istio.peer_principal` and `io.istio.local_principal`: identities handed over by a tunnel, "" if none
        self.peer_principal = ""
        self.local_principal = ""
        self.start_s = time.time()
        self.start_monotonic_ns = time.monotonic_ns()


class UpstreamHost(Protocol):
    """The endpoint of an attempt, as those above the upstream floor see it: its identity, and the counters that they move.

    Whoever knows how an attempt ended (the router) adds to `rq_success`, `rq_error` or `rq_timeout`.
    """

    rq_success: int
    rq_error: int
    rq_timeout: int


@dataclass(frozen=True, slots=True)
class ConnectionFacts:
    """An upstream connection when something on it failed: looked at then, never kept up to date on the way.

    `idle_since_ns` and `opened_ns` are monotonic; `idle_since_ns` 0: not known, or never idle. `exchanges` counts those that
    were begun on it, the failed one included. Bytes are those of the whole connection, as plaintext.
    """

    ended_by: str  # "upstream", "proxy", or "" while it is open
    how: str  # "FIN", "RST", "timeout", "TLS", "close", or ""
    opened_ns: int
    idle_since_ns: int
    exchanges: int
    bytes_received: int
    bytes_sent: int
    details: str = ""
    response_began: bool = False  # a byte of the response had come (HTTP/1)
    reset_code: int = -1  # of the RST_STREAM that ended the exchange
    goaway: tuple[int, int, str] | None = None  # last stream id, code, debug text

    def facts(self) -> ConnectionFacts:
        """Itself: what a connection leaves behind when it has ended."""
        return self

    def __reduce__(self) -> tuple[object, ...]:
        """Workers tell it to main; a compiled class is not pickled by itself."""
        return ConnectionFacts, astuple(self)


class ConnectionLife(Protocol):
    """Whoever can tell how an upstream connection is, or was when it ended."""

    def facts(self) -> ConnectionFacts: ...


class FailureCause(Protocol):
    """Why a stream or connection failed, for those who show it (`telemetry.failures` makes it)."""

    @property
    def story(self) -> str:
        """In one line, for people."""

    def value(self, field: str) -> str | int | float | bool | None:
        """One fact by its name; None: not known."""


class UpstreamInfo(ConnectionMemory):
    """One attempt towards an upstream host: filled by the pool, read by stats and access logs.

    All requests on one upstream connection share one object. `host` is None when none was chosen.
    `upstream_peer` and `peer_not_found` belong to the upstream *connection* (TCP exchange by the cluster's upstream filter);
    `connection_state` is shared by all users of that connection.
    """

    __slots__ = (
        "cluster_metadata",
        "cluster_name",
        "connection_id",
        "connection_state",
        "host",
        "host_address",
        "host_metadata",
        "hostname",
        "life",
        "local_address",
        "remote_address",
        "tls",
        "transport_failure_reason",
    )

    def __init__(self) -> None:
        super().__init__()
        self.cluster_name = ""
        self.cluster_metadata = EMPTY_METADATA
        self.host: UpstreamHost | None = None
        self.host_address: Address | None = None
        self.hostname = ""
        self.host_metadata = EMPTY_METADATA
        self.remote_address: Address | None = None
        self.local_address: Address | None = None
        self.connection_id = 0
        self.connection_state: UpstreamConnectionState | None = None
        self.tls: TlsInfo | None = None
        self.transport_failure_reason = ""
        #: the client while its connection lives; what it left behind if it ended with something on it
        self.life: ConnectionLife | None = None


class UpstreamConnectionState:
    """Filter state of an upstream connection: what the metadata exchange found out about the server."""

    __slots__ = ("peer_not_found", "upstream_peer")

    def __init__(self) -> None:
        self.upstream_peer: PeerMetadata | None = None
        self.peer_not_found = False


class UpstreamExchange(Protocol):
    """A request on its way to an upstream, as those see it who report on it."""

    meter: StreamMeter

    @property
    def version(self) -> HttpVersion: ...


class GrpcMessages:
    """The messages of a gRPC stream in both directions, counted by whoever sees them (`grpc_stats`)."""

    __slots__ = ("requests", "responses")

    def __init__(self) -> None:
        self.requests = MessageCounter()
        self.responses = MessageCounter()


class Trace(Protocol):
    """Where in which trace a request is: lower-case hexadecimal digits, 32 (of some tracers 16) and 16 of them."""

    @property
    def trace_id(self) -> str: ...
    @property
    def span_id(self) -> str: ...
    @property
    def sampled(self) -> bool:
        """The collector will hear of it."""


class StreamInfo:
    """One HTTP stream, or one TCP proxy session.

    `bytes_received` / `bytes_sent` are body bytes (HTTP) or payload bytes (TCP) of the downstream side; `meter` has the wire
    bytes of an HTTP stream, `upstream_exchange` those of the upstream side. All `*_ns` times are monotonic, 0 when the thing
    has not happened. `trace` is None where nothing is traced. `connection` is None only for the admin server's own streams.
    """

    __slots__ = (
        "application_protocols",
        "attempt_count",
        "bytes_received",
        "bytes_sent",
        "cluster_metadata",
        "cluster_name",
        "connection",
        "downstream_peer",
        "dynamic_metadata",
        "earlier_exchanges",
        "end_ns",
        "failure",
        "first_response_byte_ns",
        "first_upstream_rx_byte_ns",
        "first_upstream_tx_byte_ns",
        "flag_names",
        "grpc_messages",
        "last_request_byte_ns",
        "last_response_byte_ns",
        "last_upstream_rx_byte_ns",
        "last_upstream_tx_byte_ns",
        "log_type",
        "meter",
        "peer_not_found",
        "protocol",
        "remote_address",
        "request_headers",
        "response_code",
        "response_code_details",
        "response_flags",
        "response_headers",
        "response_trailers",
        "route_metadata",
        "route_name",
        "start_ns",
        "start_s",
        "trace",
        "upstream",
        "upstream_exchange",
        "upstream_peer",
        "virtual_host_name",
    )

    def __init__(self, connection: ConnectionInfo, start_s: float, start_ns: int) -> None:
        self.connection = connection
        self.start_s = start_s
        self.start_ns = start_ns
        self.end_ns = 0
        self.last_request_byte_ns = 0
        self.last_upstream_tx_byte_ns = 0
        self.first_upstream_tx_byte_ns = 0
        self.first_upstream_rx_byte_ns = 0
        self.last_upstream_rx_byte_ns = 0
        self.first_response_byte_ns = 0
        self.last_response_byte_ns = 0  # of a whole response
        self.protocol = ""  # "HTTP/1.1", "HTTP/1.0", "HTTP/2"; "" for TCP
        #: the client found behind trusted proxies (`x-forwarded-for`); None: the connection's remote address
        self.remote_address: Address | None = None
        self.request_headers: Headers | None = None
        self.response_headers: Headers | None = None
        self.response_trailers: Headers | None = None
        self.response_code = 0  # 0: no response was sent
        self.response_code_details = ""
        self.response_flags = 0
        self.flag_names = ""  # of the flags, in the order in which they were set; "" : none
        self.bytes_received = 0
        self.bytes_sent = 0
        self.meter: StreamMeter | None = None
        #: `envoy.filters.http.grpc_stats`, from the first message on; None also where nobody emits it
        self.grpc_messages: GrpcMessages | None = None
        #: the last attempt that got a connection
        self.upstream_exchange: UpstreamExchange | None = None
        #: the sum of those before it
        self.earlier_exchanges: StreamMeter | None = None
        self.route_name = ""
        self.virtual_host_name = ""
        self.route_metadata: Metadata | None = None
        self.cluster_name = ""
        self.cluster_metadata: Metadata | None = None
        self.upstream: UpstreamInfo | None = None
        self.attempt_count = 0
        self.trace: Trace | None = None
        #: from the first thing that goes wrong on, complete when access logs see it; None: nothing did, or nobody keeps it
        self.failure: FailureCause | None = None
        #: peers found by the HTTP exchange; they live as long as the stream and give way to the connection's
        self.downstream_peer: PeerMetadata | None = None
        self.upstream_peer: PeerMetadata | None = None
        self.peer_not_found = False
        #: facts that filters leave for others, by the filter's name; None: nobody did. `add_dynamic_metadata` fills it
        self.dynamic_metadata: dict[str, Mapping[str, object]] | None = None
        #: the kind of the access log entry that is being written, by Envoy's names
        self.log_type = ""
        #: ALPN list for the upstream handshake (`envoy.network.application_protocols`); part of the pool key
        self.application_protocols: tuple[str, ...] | None = None

    def add_flag(self, flags: int) -> None:
        """Set one flag, or several; `flag_names` keeps the order."""
        new = flags & ~self.response_flags
        if new:
            self.response_flags |= new
            names = short_names(new)
            self.flag_names = f"{self.flag_names},{names}" if self.flag_names else names

    def add_dynamic_metadata(self, namespace: str, values: Mapping[str, object]) -> None:
        """Merge `values` into what `namespace` holds; the same keys are replaced."""
        if self.dynamic_metadata is None:
            self.dynamic_metadata = {}
        known = self.dynamic_metadata.get(namespace)
        self.dynamic_metadata[namespace] = {**known, **values} if known is not None else values
