"""What the floors above see of the upstream: clusters by name, streams and connections on demand, failures as values.

Decide, then act: choosing a host and judging circuit breakers happen without I/O; callbacks may come before the call that
asked has returned only where that is said.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from config.model.core import Metadata, RoutingPriority

if TYPE_CHECKING:
    from config.model.cluster import ClusterSpec
    from protocols.http.codec import HttpVersion, ResetReason, StreamMeter
    from protocols.http.headers import Headers
    from sidecar.stream_info import ConnectionInfo, UpstreamHost, UpstreamInfo
    from sidecar.upstream.circuit_breaker import CircuitBreaker
    from sidecar.upstream.host import Host
    from stats.families import ClusterStats


class UpstreamFailure(enum.Enum):
    """Why no upstream could be had. `failed_attempt` and `tcp_proxy` turn it into flags, status and text."""

    NO_HEALTHY_HOST = enum.auto()  # UH, 503 "no healthy upstream"
    OVERFLOW = enum.auto()  # UO, a circuit breaker
    CONNECT_FAILURE = enum.auto()  # UF: refused, unreachable, TLS handshake failed
    CONNECT_TIMEOUT = enum.auto()  # UF: connect_timeout, TLS handshake included


class LbContext:
    """What a load balancer may look at. One for each request or TCP session.

    `tried` are the `UpstreamInfo.host` of hosts that failed already: avoided if there is another.
    """

    __slots__ = ("downstream", "headers", "metadata_match", "tried")

    def __init__(
        self,
        downstream: ConnectionInfo | None = None,
        headers: Headers | None = None,
        metadata_match: Metadata | None = None,
        tried: tuple[UpstreamHost, ...] = (),
    ) -> None:
        self.downstream = downstream
        self.headers = headers
        self.metadata_match = metadata_match
        self.tried = tried


class LoadBalancer(Protocol):
    def choose(self, context: LbContext) -> Host | None:
        """None: no healthy upstream."""

    def update(self, hosts: HostSet) -> None:
        """New membership, health or weights."""


@dataclass(frozen=True, slots=True)
class HostSet:
    """Hosts by priority, best first; each tuple holds those of one priority, healthy or not."""

    priorities: tuple[tuple[Host, ...], ...]


class Pending(Protocol):
    """Something asked for that has not come yet."""

    def cancel(self) -> None:
        """No callback comes after this. Harmless when it has come."""


class UpstreamSink(Protocol):
    """The router's side of one upstream HTTP request. Exactly one of ready and failure comes first."""

    def on_pool_ready(self, stream: UpstreamStream) -> None: ...
    def on_pool_failure(self, failure: UpstreamFailure, details: str, info: UpstreamInfo) -> None:
        """`info` names the host if one was chosen; `details` is the transport failure text or ""."""

    def on_response_headers(self, headers: Headers, end: bool) -> None:
        """Also each 1xx head, with `end` False."""

    def on_response_data(self, data: bytes, end: bool) -> None: ...
    def on_response_trailers(self, trailers: Headers) -> None: ...
    def on_upstream_reset(self, reason: ResetReason, details: str) -> None:
        """The stream is gone. `details` is the transport failure or protocol error token."""

    def on_upstream_full(self, full: bool) -> None:
        """The way to the upstream passed its high watermark (True) or is low again (False)."""


class UpstreamStream(Protocol):
    """One request on an upstream connection."""

    info: UpstreamInfo
    meter: StreamMeter

    @property
    def version(self) -> HttpVersion:
        """The protocol spoken to the upstream."""

    @property
    def is_alone(self) -> bool:
        """No other exchange is on its connection."""

    def send_headers(self, headers: Headers, end: bool) -> None: ...
    def send_data(self, data: bytes, end: bool) -> None: ...
    def send_trailers(self, trailers: Headers) -> None: ...
    def reset(self) -> None:
        """Give it up; no callback follows. HTTP/1 closes the connection."""

    def pause_reading(self) -> None:
        """The downstream takes no more for now."""

    def resume_reading(self) -> None: ...


class TcpUpstreamSink(Protocol):
    """tcp_proxy's side of one upstream connection. Exactly one of ready and failure comes first."""

    def on_tcp_ready(self, connection: TcpUpstream) -> None: ...
    def on_tcp_failure(self, failure: UpstreamFailure, details: str, info: UpstreamInfo) -> None: ...
    def on_upstream_data(self, data: bytes, end: bool) -> None:
        """`end`: the upstream half-closed."""

    def on_upstream_closed(self) -> None:
        """Both ways are gone; `was_reset` says how."""

    def on_upstream_full(self, full: bool) -> None: ...


class TcpUpstream(Protocol):
    """An upstream TCP connection, or what stands in for one; never shared or reused."""

    info: UpstreamInfo

    @property
    def was_reset(self) -> bool:
        """Once closed: the upstream broke it off."""

    def write(self, data: bytes, end: bool = False) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def pause_reading(self) -> None:
        """The downstream takes no more for now."""

    def resume_reading(self) -> None: ...


class Cluster(Protocol):
    """A live cluster."""

    spec: ClusterSpec
    name: str
    metadata: Metadata
    stats: ClusterStats

    def new_stream(
        self,
        context: LbContext,
        sink: UpstreamSink,
        *,
        downstream_version: HttpVersion,
        priority: RoutingPriority = RoutingPriority.DEFAULT,
        application_protocols: tuple[str, ...] | None = None,
        server_name: str = "",
    ) -> Pending:
        """Ask for a stream. A callback may come before this returns (idle connection, or failure at once).

        `application_protocols` replaces the ALPN offer of the cluster's TLS context; `server_name` its SNI when the
        cluster has auto_sni. Both are part of the pool's key.
        """

    def new_connection(
        self,
        context: LbContext,
        sink: TcpUpstreamSink,
        *,
        priority: RoutingPriority = RoutingPriority.DEFAULT,
    ) -> Pending:
        """Ask for a TCP connection. A callback may come before this returns only for a failure at once."""

    def hosts(self) -> Iterable[Host]: ...

    def circuit_breaker(self, priority: RoutingPriority = RoutingPriority.DEFAULT) -> CircuitBreaker:
        """The limits of a priority; the router counts its retries in `retries`."""


class ClusterManager(Protocol):
    """Clusters by name."""

    def get(self, name: str) -> Cluster | None: ...
    def all(self) -> Mapping[str, Cluster]: ...
