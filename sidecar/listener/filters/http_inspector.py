"""`envoy.filters.listener.http_inspector`: is the plaintext HTTP, and which version."""

from __future__ import annotations

from typing import Any

from alpn.http_preface import MAX_PREFACE_BYTES, Incomplete, inspect_http
from config.model.listener import HttpInspectorSpec
from sidecar.listener.api import ListenerFilterFactory, Peek
from sidecar.stream_info import ConnectionInfo
from stats.filter_families import HttpInspectorStats
from stats.store import Scope


class HttpInspector:
    """Shared by all connections: it keeps no state."""

    max_bytes = MAX_PREFACE_BYTES
    consumed = 0

    def __init__(self, stats: HttpInspectorStats) -> None:
        self._stats = stats
        self._found = {
            "http/1.0": stats.http10_found,
            "http/1.1": stats.http11_found,
            "h2c": stats.http2_found,
        }

    def create(self) -> HttpInspector:
        return self

    def on_accept(self, info: ConnectionInfo, socket: Any) -> Peek:
        return Peek.DONE if info.transport_protocol == "tls" else Peek.MORE

    def on_bytes(self, seen: bytes, info: ConnectionInfo) -> Peek:
        if info.transport_protocol == "tls":
            return Peek.DONE
        found = inspect_http(seen)
        if isinstance(found, Incomplete):
            return Peek.MORE
        if found is not None:
            info.application_protocols = (found,)
            self._found[found].inc()
        else:
            self._stats.http_not_found.inc()
        return Peek.DONE


def build(spec: HttpInspectorSpec, scope: Scope) -> ListenerFilterFactory:
    return HttpInspector(HttpInspectorStats(scope.scope("http_inspector")))
