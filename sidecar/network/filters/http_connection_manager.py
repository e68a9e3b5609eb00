"""`envoy.filters.network.http_connection_manager`: the door to the HTTP floor."""

from __future__ import annotations

from config.model.http import HttpConnectionManagerSpec
from sidecar.http.connection_manager import ConnectionManager
from sidecar.http.manager_config import ManagerConfig
from sidecar.network.api import Connection, FilterContext, NetworkFilterFactory


class HttpConnectionManagerFactory:
    """Compiled once; makes the connection manager of each connection."""

    __slots__ = ("config",)

    def __init__(self, config: ManagerConfig) -> None:
        self.config = config

    def create(self, connection: Connection) -> ConnectionManager:
        return ConnectionManager(connection, self.config)


def build(spec: HttpConnectionManagerSpec, context: FilterContext) -> NetworkFilterFactory:
    return HttpConnectionManagerFactory(ManagerConfig(spec, context))
