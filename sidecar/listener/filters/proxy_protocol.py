"""`envoy.filters.listener.proxy_protocol`: the client's address from a PROXY v1 or v2 header, which is consumed."""

from __future__ import annotations

from typing import Any

from config.model.core import SocketAddress
from config.model.listener import ProxyProtocolSpec
from protocols.errors import RemoteProtocolError
from protocols.proxy_protocol import MAX_HEADER_BYTES, Incomplete, NotProxyProtocol, parse_proxy_header
from sidecar.listener.api import ListenerFilterFactory, Peek
from sidecar.stream_info import ConnectionInfo
from stats.filter_families import ProxyProtocolStats
from stats.metrics import Counter
from stats.store import Scope


class ProxyProtocol:
    """One per connection: it remembers how much it consumed."""

    __slots__ = ("_errors", "_optional", "_stats", "consumed")

    max_bytes = MAX_HEADER_BYTES

    def __init__(self, optional: bool, stats: ProxyProtocolStats, errors: Counter) -> None:
        self._optional = optional
        self._stats = stats
        self._errors = errors
        self.consumed = 0

    def on_accept(self, info: ConnectionInfo, socket: Any) -> Peek:
        return Peek.MORE

    def on_bytes(self, seen: bytes, info: ConnectionInfo) -> Peek:
        try:
            found = parse_proxy_header(seen)
        except RemoteProtocolError:
            return self._refuse(binary=seen[:1] == b"\r")
        if isinstance(found, Incomplete):
            return Peek.MORE
        if isinstance(found, NotProxyProtocol):
            if not self._optional:
                return self._refuse(binary=False)
            self._stats.not_found_allowed.inc()
            return Peek.DONE
        (self._stats.versions_v2_found if found.version == 2 else self._stats.versions_v1_found).inc()
        self.consumed = found.size_bytes
        if found.source is not None and found.destination is not None:
            info.remote_address = SocketAddress(*found.source)
            info.local_address = SocketAddress(*found.destination)
            info.local_address_restored = True
        return Peek.DONE

    def _refuse(self, *, binary: bool) -> Peek:
        """What is no header at all counts as a broken one of version 1, as in Envoy."""
        (self._stats.versions_v2_error if binary else self._stats.versions_v1_error).inc()
        self._errors.inc()
        return Peek.REJECT


class ProxyProtocolFactory:
    def __init__(self, spec: ProxyProtocolSpec, stats: ProxyProtocolStats, errors: Counter) -> None:
        self._optional = spec.allow_requests_without_proxy_protocol
        self._stats = stats
        self._errors = errors

    def create(self) -> ProxyProtocol:
        return ProxyProtocol(self._optional, self._stats, self._errors)


def build(spec: ProxyProtocolSpec, scope: Scope) -> ListenerFilterFactory:
    stats = ProxyProtocolStats(scope.scope("proxy_proto"))
    return ProxyProtocolFactory(spec, stats, scope.counter("downstream_cx_proxy_proto_error"))
