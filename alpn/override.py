"""Istio's ALPN filter: which ALPN list an upstream handshake offers, by the HTTP version that goes upstream."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Final

from alpn.names import H2, HTTP_10, HTTP_11, ISTIO, ISTIO_H2, ISTIO_HTTP_10, ISTIO_HTTP_11

#: Namespace and key of the cluster metadata that turns the override off: the *string* "false", never a bool.
METADATA_NAMESPACE: Final = "istio"
METADATA_KEY: Final = "alpn_override"


class UpstreamProtocol(enum.Enum):
    """`AlpnOverride.Protocol`; the values are those of the protobuf enum."""

    HTTP10 = 0
    HTTP11 = 1
    HTTP2 = 2


class ClusterHttpMode(enum.Enum):
    """How a cluster chooses its HTTP version (`HttpProtocolOptions`)."""

    EXPLICIT_HTTP1 = enum.auto()  # also when nothing is configured
    EXPLICIT_HTTP2 = enum.auto()
    USE_DOWNSTREAM = enum.auto()
    AUTO = enum.auto()  # by ALPN of the upstream handshake


OverrideTable = Mapping[UpstreamProtocol, tuple[str, ...]]

#: What the control plane configures for sidecars and gateways.
ISTIO_OVERRIDES: Final[OverrideTable] = {
    UpstreamProtocol.HTTP10: (ISTIO_HTTP_10, ISTIO, HTTP_10),
    UpstreamProtocol.HTTP11: (ISTIO_HTTP_11, ISTIO, HTTP_11),
    UpstreamProtocol.HTTP2: (ISTIO_H2, ISTIO, H2),
}


def override_table(entries: Iterable[tuple[UpstreamProtocol, tuple[str, ...]]]) -> OverrideTable:
    """The table of a configuration: of entries for the same protocol the first is kept."""
    table: dict[UpstreamProtocol, tuple[str, ...]] = {}
    for protocol, names in entries:
        table.setdefault(protocol, names)
    return table


def upstream_protocol(mode: ClusterHttpMode, downstream: UpstreamProtocol) -> UpstreamProtocol:
    """The first protocol that the cluster would use for a request that came in as `downstream`.

    AUTO is HTTP/1.1, the only one of its two that is spoken here: a server that is offered HTTP/2 would choose it.
    """
    match mode:
        case ClusterHttpMode.USE_DOWNSTREAM:
            return downstream
        case ClusterHttpMode.EXPLICIT_HTTP2:
            return UpstreamProtocol.HTTP2
        case ClusterHttpMode.EXPLICIT_HTTP1 | ClusterHttpMode.AUTO:
            return UpstreamProtocol.HTTP11


def is_disabled(istio_metadata: Mapping[str, object]) -> bool:
    """Whether the cluster's `istio` metadata says that its servers must not see mesh names (TLS SIMPLE or MUTUAL)."""
    return istio_metadata.get(METADATA_KEY) == "false"


def override(
    table: OverrideTable,
    mode: ClusterHttpMode,
    downstream: UpstreamProtocol,
    istio_metadata: Mapping[str, object],
) -> tuple[str, ...] | None:
    """The ALPN list for the upstream handshake, None to leave the cluster's own in force."""
    if is_disabled(istio_metadata):
        return None
    return table.get(upstream_protocol(mode, downstream)) or None
