"""The spans of one stream: that of the request, and those of its attempts if they have any."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from protocols.http.headers import Headers
from sidecar.stream_info import short_names
from sidecar.telemetry.tracing import tags as span_tags
from sidecar.telemetry.tracing.custom_tags import CompiledTags, text_of
from sidecar.telemetry.tracing.span import Span

if TYPE_CHECKING:
    from sidecar.http.route import RouteOperation
    from sidecar.stream_info import StreamInfo, UpstreamInfo
    from sidecar.telemetry.tracing.span import Tracer
    from sidecar.upstream.api import Cluster

DECORATOR: Final = b"x-envoy-decorator-operation"
_UNKNOWN: Final = "-"

Render = Callable[["StreamInfo"], bytes]


@dataclass(frozen=True, slots=True)
class TraceRules:
    """What the connection manager and the route say of spans, compiled. `operation` None: the built-in name."""

    node_id: str
    zone: str
    outbound: bool
    verbose: bool
    max_path_tag_length: int
    spawn_upstream_span: bool
    custom_tags: CompiledTags
    operation: Render | None
    upstream_operation: Render | None

    def add_custom(self, tags: dict[str, str], info: StreamInfo) -> None:
        for name, value_of in self.custom_tags:
            value = value_of(info)
            if value is not None:
                tags[name] = value


class StreamTrace(Span):
    """The span of a request. `first_sent_ns`: when its first byte went to the upstream (monotonic)."""

    __slots__ = ("_decoration", "_host", "_rules", "first_sent_ns")

    def __init__(self, rules: TraceRules, tracer: Tracer, host: bytes) -> None:
        """`host`: as the client asked for it."""
        super().__init__(tracer)
        self._rules = rules
        self._host = host
        self._decoration = b""  # what the client is to call its span
        self.first_sent_ns = 0

    def decorate(self, headers: Headers, operation: RouteOperation | None) -> None:
        """Name the span; outbound, tell the server the name, and inbound, take it from the client (Envoy)."""
        told = b""
        if operation is not None:
            self.name = operation.name
            told = operation.told
        if self._rules.outbound:
            if told:
                headers.set(DECORATOR, told)
            return
        asked = headers.get(DECORATOR)
        if asked is not None:
            headers.remove(DECORATOR)
            if asked:
                told = b""
                self.name = text_of(asked)
        self._decoration = told

    def on_response_headers(self, headers: Headers) -> None:
        """Inbound: tell the client the name of the operation. Outbound: take it from the server."""
        if not self._rules.outbound:
            if self._decoration:
                headers.set(DECORATOR, self._decoration)
            return
        told = headers.get(DECORATOR)
        if told is not None:
            headers.remove(DECORATOR)
            if told:
                self.name = text_of(told)

    # the way to the upstream

    def on_request(self, headers: Headers, start_child_span: bool) -> None:
        """The request is to be sent; if its attempts have spans, these are told of."""
        if not (start_child_span or self._rules.spawn_upstream_span):
            self.tracer.inject(self, headers)

    def begin_attempt(
        self, headers: Headers, info: StreamInfo, cluster: Cluster, start_child_span: bool
    ) -> AttemptSpan | None:
        """The span of an attempt, with which the next hop goes on; None: it has none."""
        if not (start_child_span or self._rules.spawn_upstream_span):
            return None
        child = self.child(f"router {cluster.spec.stat_name or cluster.name} egress")
        child.inject(headers)
        return AttemptSpan(child, self._rules, info, cluster) if child.sampled else None

    # the end

    def end(self, info: StreamInfo, cluster: Cluster | None) -> None:
        """The stream has ended."""
        if self.sampled:
            self._report(info, cluster)

    def _report(self, info: StreamInfo, cluster: Cluster | None) -> None:
        rules = self._rules
        tags = span_tags.request_tags(info, rules.max_path_tag_length)
        tags["node_id"] = rules.node_id
        tags["zone"] = rules.zone
        span_tags.add_cluster(tags, info, cluster.spec.stat_name if cluster is not None else "")
        span_tags.add_outcome(tags, info.response_code, info.flag_names)
        span_tags.add_grpc_response(tags, info.response_headers, info.response_trailers)
        span_tags.add_peers(tags, info)
        rules.add_custom(tags, info)
        if rules.operation is not None:
            self.name = text_of(rules.operation(info))
        elif not self.name:
            self.name = self.tracer.name_of(text_of(self._host), rules.outbound)
        events = self._events(info) if rules.verbose else []
        start_ns = int(info.start_s * 1e9)
        self.finish(start_ns, start_ns + info.end_ns - info.start_ns, tags, events)

    def _events(self, info: StreamInfo) -> list[tuple[str, int]]:
        return [
            *_events(info, (("last_downstream_rx_byte_received", info.last_request_byte_ns),)),
            *upstream_events(info, self.first_sent_ns, info.last_upstream_rx_byte_ns),
            *_events(
                info,
                (
                    ("first_downstream_tx_byte_sent", info.first_response_byte_ns),
                    ("last_downstream_tx_byte_sent", info.end_ns if info.first_response_byte_ns else 0),
                ),
            ),
        ]


def upstream_events(info: StreamInfo, first_sent_ns: int, ended_ns: int) -> list[tuple[str, int]]:
    """What happened on the side of the upstream, with times since the epoch."""
    return _events(
        info,
        (
            ("first_upstream_tx_byte_sent", first_sent_ns),
            ("last_upstream_tx_byte_sent", info.last_upstream_tx_byte_ns),
            ("first_upstream_rx_byte_received", info.first_upstream_rx_byte_ns),
            ("last_upstream_rx_byte_received", ended_ns),
        ),
    )


def _events(info: StreamInfo, times: tuple[tuple[str, int], ...]) -> list[tuple[str, int]]:
    epoch_ns = int(info.start_s * 1e9) - info.start_ns
    return [(name, epoch_ns + time_ns) for name, time_ns in times if time_ns]


class AttemptSpan:
    """The span of one attempt, sampled. It ends with the attempt, however that ends."""

    __slots__ = (
        "_cluster",
        "_flags",
        "_headers",
        "_info",
        "_number",
        "_protocol",
        "_reason",
        "_rules",
        "_span",
        "_start_ns",
        "_status",
        "_trailers",
        "_upstream",
        "sent_ns",
    )

    def __init__(self, span: Span, rules: TraceRules, info: StreamInfo, cluster: Cluster) -> None:
        self._span: Span | None = span
        self._rules = rules
        self._info = info
        self._cluster = cluster
        self._number = info.attempt_count
        self._start_ns = time.time_ns()
        self._upstream: UpstreamInfo | None = None
        self._protocol = _UNKNOWN
        self._status = 0
        self._headers: Headers | None = None
        self._trailers: Headers | None = None
        self._flags = 0
        self._reason = ""
        self.sent_ns = 0

    def on_connected(self, upstream: UpstreamInfo, protocol: str) -> None:
        self._upstream = upstream
        self._protocol = protocol

    def on_headers(self, headers: Headers) -> None:
        self._status = headers.status
        self._headers = headers

    def on_trailers(self, trailers: Headers) -> None:
        self._trailers = trailers

    def fail(self, reason: str, flags: int, upstream: UpstreamInfo | None = None) -> None:
        """No response, or not all of it: in Envoy's words."""
        if upstream is not None:
            self._upstream = upstream
        self._reason = reason
        self._flags = flags
        self.finish()

    def cancel(self) -> None:
        """It was given up, unless it is over."""
        self.finish(canceled=True)

    def finish(self, *, canceled: bool = False) -> None:
        span, self._span = self._span, None
        if span is None:
            return
        info, rules, cluster = self._info, self._rules, self._cluster
        tags: dict[str, str] = {
            "http.protocol": self._protocol,
            "upstream_cluster": cluster.name,
            "upstream_cluster.name": cluster.spec.stat_name or cluster.name,
        }
        if self._upstream is not None and self._upstream.host_address is not None:
            tags["upstream_address"] = tags["peer.address"] = str(self._upstream.host_address)
        if self._number > 1:
            tags["retry.count"] = str(self._number - 1)
        if canceled:
            tags["canceled"] = span_tags.TRUE
        span_tags.add_outcome(tags, self._status, short_names(self._flags) if self._flags else "")
        if self._reason:
            tags["error"] = span_tags.TRUE
            tags["error.reason"] = self._reason
        span_tags.add_grpc_response(tags, self._headers, self._trailers)
        rules.add_custom(tags, info)
        if rules.upstream_operation is not None:
            span.name = text_of(rules.upstream_operation(info))
        ended_ns = 0 if canceled or self._reason else time.monotonic_ns()
        events = upstream_events(info, self.sent_ns, ended_ns) if rules.verbose else []
        span.finish(self._start_ns, time.time_ns(), tags, events)
