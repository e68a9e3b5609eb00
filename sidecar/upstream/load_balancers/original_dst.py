"""CLUSTER_PROVIDED, for ORIGINAL_DST clusters: the host is where the downstream connection was going."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from config.model.core import SocketAddress

if TYPE_CHECKING:
    from config.model.cluster import ClusterSpec
    from sidecar.upstream.api import HostSet, LbContext
    from sidecar.upstream.host import Host
    from stats.metrics import Counter

_IP_PORT: Final = re.compile(rb"(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9.]{7,15})):([0-9]{1,5})")


def parse_ip_port(value: bytes) -> SocketAddress | None:
    """`1.2.3.4:80` or `[::1]:80`; None for anything else, names included."""
    found = _IP_PORT.fullmatch(value)
    if found is None:
        return None
    port = int(found[3])
    if port > 65535:
        return None
    try:
        address = ipaddress.ip_address((found[1] or found[2]).decode("ascii"))
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) != (found[1] is not None):
        return None
    return SocketAddress(str(address), port)


class OriginalDst:
    """Implements `LoadBalancer`. `host_of` finds or makes the host of an address.

    A connection whose destination no listener filter restored has none, so there is no host for it (Envoy: `UH`).
    """

    __slots__ = ("_header", "_host_of", "_invalid", "_port_override")

    def __init__(
        self, spec: ClusterSpec, host_of: Callable[[SocketAddress], Host], host_invalid: Counter
    ) -> None:
        self._header = spec.original_dst_use_http_header.encode("ascii")
        self._port_override = spec.original_dst_port_override
        self._host_of = host_of
        self._invalid = host_invalid

    def update(self, hosts: HostSet) -> None:
        """The hosts come from `choose`."""

    def choose(self, context: LbContext) -> Host | None:
        destination = self._from_header(context) if self._header else None
        if destination is None:
            downstream = context.downstream
            if downstream is None or not downstream.local_address_restored:
                return None
            if not isinstance(downstream.local_address, SocketAddress):
                return None
            destination = downstream.local_address
        if self._port_override is not None:
            destination = SocketAddress(destination.address, self._port_override)
        return self._host_of(destination)

    def _from_header(self, context: LbContext) -> SocketAddress | None:
        value = context.headers.get(self._header) if context.headers is not None else None
        if value is None:
            return None
        destination = parse_ip_port(value)
        if destination is None:
            self._invalid.inc()
        return destination
