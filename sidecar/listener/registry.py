"""Listener filters by the class of their spec: explicit, no registration by import.

The table says in which module of `filters` one is; it is imported when the filter is configured.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Final, cast

from config.model.listener import (
    HttpInspectorSpec,
    ListenerFilterConfig,
    ListenerFilterSpec,
    OriginalDstSpec,
    ProxyProtocolSpec,
    TlsInspectorSpec,
)
from sidecar.listener.api import ListenerFilterBuilder, ListenerFilterFactory
from stats.store import Scope

LISTENER_FILTERS: Final[Mapping[type[ListenerFilterSpec], str]] = {
    TlsInspectorSpec: "tls_inspector",
    HttpInspectorSpec: "http_inspector",
    OriginalDstSpec: "original_dst",
    ProxyProtocolSpec: "proxy_protocol",
}


def listener_filter_builder(spec: type[ListenerFilterSpec]) -> ListenerFilterBuilder:
    """The `build` of the filter's module."""
    module = importlib.import_module(f"sidecar.listener.filters.{LISTENER_FILTERS[spec]}")
    return cast("ListenerFilterBuilder", module.build)


def build_listener_filter(config: ListenerFilterConfig, scope: Scope) -> ListenerFilterFactory:
    return listener_filter_builder(type(config.spec))(config.spec, scope)
