"""`envoy.filters.network.echo`: send back what comes."""

from __future__ import annotations

from config.model.network import EchoSpec
from sidecar.network.api import Connection, NetworkFilterFactory, PassThroughFilter
from sidecar.transport.flow import ReadGate
from sidecar.upstream.services import FilterContext


class Echo(PassThroughFilter):
    __slots__ = ()

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        connection.watch_write_buffer(self._on_full)

    def _on_full(self, full: bool) -> None:
        gate = self.connection.gate
        gate.close(ReadGate.SINK_FULL) if full else gate.open(ReadGate.SINK_FULL)

    def on_data(self, data: bytes, end: bool) -> bytes:
        self.connection.write(data, end)
        if end:
            self.connection.close()
        return b""


class EchoFactory:
    def create(self, connection: Connection) -> Echo:
        return Echo(connection)


def build(spec: EchoSpec, context: FilterContext) -> NetworkFilterFactory:
    return EchoFactory()
