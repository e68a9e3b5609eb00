"""`envoy.filters.network.direct_response`: write fixed bytes, then close."""

from __future__ import annotations

from config.model.network import DirectResponseNetworkSpec
from sidecar.network.api import Connection, NetworkFilterFactory, PassThroughFilter
from sidecar.transport.flow import Flow
from sidecar.upstream.services import FilterContext

#: Envoy's delayed close for this filter: wait so long for the client to close first.
_DELAY_S = 1.0


class DirectResponse(PassThroughFilter):
    __slots__ = ("_response",)

    def __init__(self, connection: Connection, response: bytes) -> None:
        super().__init__(connection)
        self._response = response

    def on_open(self) -> Flow:
        if self._response:
            self.connection.write(self._response)
        self.connection.close_after_peer(_DELAY_S, "direct_response")
        return Flow.CONTINUE


class DirectResponseFactory:
    def __init__(self, response: bytes) -> None:
        self._response = response

    def create(self, connection: Connection) -> DirectResponse:
        return DirectResponse(connection, self._response)


def build(spec: DirectResponseNetworkSpec, context: FilterContext) -> NetworkFilterFactory:
    return DirectResponseFactory(context.services.read(spec.response))
