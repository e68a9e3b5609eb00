"""Listener filters by the class of their spec: explicit, no registration by import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from config.model.listener import (
    HttpInspectorSpec,
    ListenerFilterConfig,
    ListenerFilterSpec,
    OriginalDstSpec,
    ProxyProtocolSpec,
    TlsInspectorSpec,
)
from sidecar.listener.api import ListenerFilterBuilder, ListenerFilterFactory
from sidecar.listener.filters import http_inspector, original_dst, proxy_protocol, tls_inspector
from stats.store import Scope

LISTENER_FILTERS: Final[Mapping[type[ListenerFilterSpec], ListenerFilterBuilder]] = {
    TlsInspectorSpec: tls_inspector.build,
    HttpInspectorSpec: http_inspector.build,
    OriginalDstSpec: original_dst.build,
    ProxyProtocolSpec: proxy_protocol.build,
}


def build_listener_filter(config: ListenerFilterConfig, scope: Scope) -> ListenerFilterFactory:
    return LISTENER_FILTERS[type(config.spec)](config.spec, scope)
