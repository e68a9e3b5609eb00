"""The network filter is a door: it compiles once and makes a connection manager for each connection."""

from __future__ import annotations

from sidecar.http.connection_manager import ConnectionManager
from sidecar.network.filters import http_connection_manager
from sidecar.upstream.services import FilterContext
from tests.support.http_floor import HttpFloor, route


def test_connections_share_what_was_compiled() -> None:
    floor = HttpFloor([route("/", "web")])
    factory = http_connection_manager.build(floor.spec, FilterContext(floor.services))
    client = floor.connect()
    first, second = factory.create(client.connection), factory.create(client.connection)
    assert isinstance(first, ConnectionManager)
    assert isinstance(second, ConnectionManager)
    assert first is not second
    assert first.config is second.config
    assert first.config.listener_stats is None, "built without a listener"
