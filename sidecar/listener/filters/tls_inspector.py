"""`envoy.filters.listener.tls_inspector`: is it TLS, which SNI, which ALPN offer. Reads the ClientHello, consumes nothing."""

from __future__ import annotations

from typing import Any

from alpn.client_hello import MAX_CLIENT_HELLO_BYTES, TOO_LONG, ClientHello, Incomplete, parse_client_hello
from config.model.listener import TlsInspectorSpec
from sidecar.listener.api import ListenerFilterFactory, Peek
from sidecar.stream_info import ConnectionInfo
from stats.filter_families import TlsInspectorStats
from stats.store import Scope


class TlsInspector:
    """Shared by all connections: it keeps no state."""

    max_bytes = MAX_CLIENT_HELLO_BYTES
    consumed = 0

    def __init__(self, stats: TlsInspectorStats) -> None:
        self._stats = stats

    def create(self) -> TlsInspector:
        return self

    def on_accept(self, info: ConnectionInfo, socket: Any) -> Peek:
        return Peek.MORE

    def on_bytes(self, seen: bytes, info: ConnectionInfo) -> Peek:
        if info.transport_protocol == "tls":
            return Peek.DONE
        found = parse_client_hello(seen)
        if isinstance(found, Incomplete):
            return Peek.MORE
        self._stats.bytes_processed.record(min(len(seen), self.max_bytes))
        if isinstance(found, ClientHello):
            self._count(found)
            info.transport_protocol = "tls"
            info.requested_server_name = found.server_name
            info.application_protocols = found.alpn
        elif found is TOO_LONG:
            self._stats.client_hello_too_large.inc()
            return Peek.REJECT
        else:
            self._stats.tls_not_found.inc()
            info.transport_protocol = "raw_buffer"
        return Peek.DONE

    def _count(self, hello: ClientHello) -> None:
        stats = self._stats
        stats.tls_found.inc()
        (stats.sni_found if hello.server_name else stats.sni_not_found).inc()
        (stats.alpn_found if hello.alpn else stats.alpn_not_found).inc()


def build(spec: TlsInspectorSpec, scope: Scope) -> ListenerFilterFactory:
    return TlsInspector(TlsInspectorStats(scope.scope("tls_inspector")))
