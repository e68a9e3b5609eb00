"""`envoy.filters.listener.original_dst`: restore the destination that a nat REDIRECT (or TPROXY) rule replaced."""

from __future__ import annotations

from typing import Any

from config.model.listener import OriginalDstSpec
from sidecar.listener.api import ListenerFilterFactory, Peek
from sidecar.stream_info import ConnectionInfo
from sidecar.transport.sockets import original_destination
from stats.store import Scope


class OriginalDst:
    """Shared by all connections: it keeps no state."""

    max_bytes = 0
    consumed = 0

    def create(self) -> OriginalDst:
        return self

    def on_accept(self, info: ConnectionInfo, socket: Any) -> Peek:
        if socket is not None:
            address = original_destination(socket)
            if address is not None:
                info.local_address = address
                info.local_address_restored = True
        return Peek.DONE

    def on_bytes(self, seen: bytes, info: ConnectionInfo) -> Peek:
        return Peek.DONE


def build(spec: OriginalDstSpec, scope: Scope) -> ListenerFilterFactory:
    return OriginalDst()
