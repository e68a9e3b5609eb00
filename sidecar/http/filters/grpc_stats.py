"""`envoy.filters.http.grpc_stats`: counts the gRPC calls to each cluster, their outcomes, and the messages in both directions.

A call counts when its `grpc-status` goes by, in the head or in the trailers of the response (in both: twice, as in Envoy); one
that ends without does not count. `emit_filter_state` leaves the message counts in `StreamInfo.grpc_messages` for others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from config.model.grpc import GrpcStatsSpec
from protocols.grpc.status import is_grpc_request, is_grpc_response, may_become_grpc, service_and_method
from protocols.http import names
from protocols.http.headers import Headers
from sidecar.http.api import HttpFilter, HttpFilterFactory, Stream
from sidecar.stream_info import GrpcMessages
from sidecar.transport.flow import CONTINUE, Flow
from sidecar.upstream.services import FilterContext

if TYPE_CHECKING:
    from sidecar.upstream.api import Cluster
    from stats.filter_families import GrpcStats

_NANOSECONDS_PER_MS: Final = 1_000_000


class GrpcStatsFilter(HttpFilter):
    """One stream that is gRPC, or may become so on its way here. `_messages` None: it is not."""

    __slots__ = ("_counts_response", "_factory", "_messages", "_stats")

    def __init__(self, factory: GrpcStatsFactory) -> None:
        self._factory = factory
        self._messages: GrpcMessages | None = None
        self._stats: GrpcStats | None = None  # None: no cluster, or the path names no method
        self._counts_response = False

    def on_request_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
        if is_grpc_request(headers):
            self._messages = GrpcMessages()
            if stream.cluster is not None:
                self._stats = self._factory.stats_of(stream.cluster, headers.path)
        return CONTINUE

    def on_request_data(self, stream: Stream, data: bytes, end: bool) -> bytes:
        messages = self._messages
        if messages is not None and (new := messages.requests.feed(data)):
            self._emit(stream, messages)
            if self._stats is not None:
                self._stats.count_request_messages(new)
        return data

    def on_response_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
        if self._messages is not None:
            self._counts_response = is_grpc_response(headers, end)
            self._count_status(stream, headers, end)
        return CONTINUE

    def on_response_data(self, stream: Stream, data: bytes, end: bool) -> bytes:
        messages = self._messages
        if messages is not None and self._counts_response and (new := messages.responses.feed(data)):
            self._emit(stream, messages)
            if self._stats is not None:
                self._stats.count_response_messages(new)
        return data

    def on_response_trailers(self, stream: Stream, trailers: Headers) -> Flow:
        if self._messages is not None:
            self._count_status(stream, trailers, True)
        return CONTINUE

    def _emit(self, stream: Stream, messages: GrpcMessages) -> None:
        if self._factory.emits:
            stream.info.grpc_messages = messages

    def _count_status(self, stream: Stream, headers: Headers, end: bool) -> None:
        stats = self._stats
        if stats is None:
            return
        status = headers.get(names.GRPC_STATUS)
        if status is not None:
            stats.count_end(status)
        info = stream.info
        if end and self._factory.times and info.last_upstream_tx_byte_ns and info.last_upstream_rx_byte_ns:
            elapsed_ns = info.last_upstream_rx_byte_ns - info.last_upstream_tx_byte_ns
            stats.record_time(elapsed_ns // _NANOSECONDS_PER_MS)


class GrpcStatsFactory(HttpFilterFactory):
    """Compiled once. Streams that are no gRPC share a filter that does nothing."""

    def __init__(self, spec: GrpcStatsSpec) -> None:
        super().__init__(GrpcStatsFilter)
        self.emits: Final = spec.emit_filter_state
        self.times: Final = spec.enable_upstream_stats
        self._all_methods = spec.stats_for_all_methods
        self._replaces_dots = spec.replace_dots_in_grpc_service_name
        self._allowlist = spec.allowlist
        self._nothing = HttpFilter()

    def stats_of(self, cluster: Cluster, path: bytes) -> GrpcStats | None:
        """Where the calls of a path are counted: under the method's own name, or with those of all others."""
        called = service_and_method(path)
        if called is None:
            return None
        methods = cluster.stats.grpc()
        if self._all_methods:
            service, method = called
            return methods.method(service.replace(".", "_") if self._replaces_dots else service, method)
        return methods.method(*called) if called in self._allowlist else methods.unnamed

    def for_stream(self, stream: Stream) -> HttpFilter:
        headers = stream.request_headers
        return GrpcStatsFilter(self) if headers is not None and may_become_grpc(headers) else self._nothing


def build(spec: GrpcStatsSpec, context: FilterContext) -> HttpFilterFactory:
    return GrpcStatsFactory(spec)
