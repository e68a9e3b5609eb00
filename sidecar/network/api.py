"""The extension point of the network floor: a builder for each network filter spec.

The filter interface itself (`NetworkFilter`, `NetworkFilterFactory`, `Connection`) lives in `sidecar.transport.connection`,
because upstream connections carry network filters too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.transport.connection import Connection, NetworkFilter, NetworkFilterFactory, PassThroughFilter
from sidecar.upstream.services import FilterContext

__all__ = [
    "Connection",
    "FilterContext",
    "NetworkFilter",
    "NetworkFilterBuilder",
    "NetworkFilterFactory",
    "PassThroughFilter",
]


#: The first argument is the filter's own spec class; the registry maps the class to its builder.
NetworkFilterBuilder = Callable[[Any, FilterContext], NetworkFilterFactory]
