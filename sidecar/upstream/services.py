"""Everything a filter builder may use; passed in, no globals."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from config.model.core import DataSource, Node, TrafficDirection
from config.model.telemetry import NO_OPTIONS, TelemetryOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from config.model.access_log import AccessLogSpec
    from config.model.tracing import TracerSpec
    from protocols.peer_metadata import PeerMetadata
    from sidecar.telemetry.access_log.api import AccessLogger
    from sidecar.telemetry.failures import FailureLog
    from sidecar.telemetry.tracing.span import Tracer
    from sidecar.transport.async_client import AsyncClient
    from sidecar.transport.drain import DrainState
    from sidecar.transport.timers import Timers
    from sidecar.transport.tls_contexts import TlsContexts
    from sidecar.upstream.api import ClusterManager
    from stats.store import Scope


class Services(msgspec.Struct, frozen=True):
    """One for the process.

    `scope` is the root scope. `runtime` holds the merged static layers. `read` gives the bytes of a DataSource (file,
    inline, environment). `access_logger` builds or shares the logger of a spec. `peer_lookup` finds the workload behind
    an address (workload discovery), or None. `async_client` makes requests of our own to clusters.
    `tracer` builds or shares the tracer of a spec. `telemetry` are the opt-ins.
    `failures` keeps why something failed; None: nobody does.
    `local_address` is this machine's, for clients on the loopback.
    """

    clusters: ClusterManager
    tls: TlsContexts
    scope: Scope
    timers: Timers
    node: Node
    drain: DrainState
    read: Callable[[DataSource], bytes]
    access_logger: Callable[[AccessLogSpec], AccessLogger]
    async_client: AsyncClient
    tracer: Callable[[TracerSpec], Tracer]
    runtime: Mapping[str, object] = msgspec.field(default_factory=dict)
    peer_lookup: Callable[[str], PeerMetadata | None] | None = None
    telemetry: TelemetryOptions = NO_OPTIONS
    random: random.Random = msgspec.field(default_factory=random.Random)
    local_address: str = "127.0.0.1"
    failures: FailureLog | None = None


class FilterContext(msgspec.Struct, frozen=True):
    """Where a filter is being built: the listener it belongs to, or the upstream side of a cluster (`listener_name` "")."""

    services: Services
    direction: TrafficDirection = TrafficDirection.UNSPECIFIED
    listener_name: str = ""
    listener_scope: Scope | None = None  # listener.<address>.
    stat_prefix: str = ""  # of the connection manager that an HTTP filter belongs to
    filter_name: str = ""  # as configured: by which routes name an HTTP filter
