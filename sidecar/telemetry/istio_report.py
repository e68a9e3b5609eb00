"""When Istio's standard metrics are counted: at the end of a stream, at ticks and at the close of a connection (Istio 1.28).

The reporters know no clock and no timer: the HTTP and the TCP filter drive them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

from mypy_extensions import mypyc_attr

from protocols.grpc.status import is_grpc_request
from sidecar.telemetry.istio import LabelRules, grpc_status
from stats.istio import NO_EXTRA, IstioMetrics, Series, TcpHandles

if TYPE_CHECKING:
    from sidecar.stream_info import GrpcMessages, StreamInfo


@mypyc_attr(allow_interpreted_subclasses=True)
class Expressions(ABC):
    """The configured expressions, in the order in which `stats.istio.compile_plans` added them.

    `ended` False: a report on the way; the heads of request and response are not to be read.
    """

    __slots__ = ()

    @abstractmethod
    def labels(self, stream: StreamInfo, ended: bool) -> tuple[str, ...]:
        """Labels and conditions as text; `unknown` for one that fails."""

    @abstractmethod
    def values(self, stream: StreamInfo, ended: bool) -> tuple[str, ...]:
        """What the custom metrics count, as text."""


class MessageReport:
    """What was reported of the gRPC messages of one stream; `tick` and `end` of `HttpReporter` report what is new."""

    __slots__ = ("_extra", "_requests", "_responses", "of_callers", "series")

    def __init__(self) -> None:
        self.of_callers: MessageReport | None = None  # at a gateway that reports its callers too
        self.series: Series | None = None  # labels are computed once, at the first effective report
        self._extra: tuple[str, ...] = NO_EXTRA
        self._requests = 0
        self._responses = 0

    def begin(self, series: Series, extra: tuple[str, ...]) -> None:
        self.series = series
        self._extra = extra

    def report(self, messages: GrpcMessages) -> None:
        """Add what is new. `begin` comes first."""
        if self.series is None:
            return
        self.series = self.series.current()
        requests, responses = messages.requests.count, messages.responses.count
        handles = self.series.messages(self._extra)
        handles.request_messages_total.add(requests - self._requests)
        handles.response_messages_total.add(responses - self._responses)
        self._requests, self._responses = requests, responses


class HttpReporting(ABC):
    """What the HTTP filter drives: one `HttpReporter`, or two."""

    __slots__ = ()

    @abstractmethod
    def tick(self, stream: StreamInfo, report: MessageReport) -> None: ...

    @abstractmethod
    def end(self, stream: StreamInfo, report: MessageReport | None = None) -> None: ...


class HttpReporter(HttpReporting):
    """Reports HTTP streams for one filter configuration; holds nothing of a single stream."""

    __slots__ = ("_expressions", "_metrics", "_records_custom", "_rules")

    def __init__(
        self,
        metrics: IstioMetrics,
        rules: LabelRules,
        expressions: Expressions | None = None,
        *,
        records_custom: bool = True,
    ) -> None:
        """`records_custom` False: another reporter counts the custom metrics."""
        self._metrics = metrics
        self._rules = rules
        self._expressions = expressions
        self._records_custom = records_custom and bool(metrics.plans.custom)

    def tick(self, stream: StreamInfo, report: MessageReport) -> None:
        """Every reporting interval of a gRPC stream: message deltas; nothing until it is known who the peer is."""
        if report.series is None:
            if not self._rules.http_peer_known(stream):
                return
            expressions = self._expressions
            extra = expressions.labels(stream, ended=False) if expressions is not None else NO_EXTRA
            report.begin(self._rules.http(stream), extra)
        messages = stream.grpc_messages
        if messages is not None:
            report.report(messages)

    def end(self, stream: StreamInfo, report: MessageReport | None = None) -> None:
        """Once, when the access log is written: `stream.end_ns` 0 means that it never completed.

        `report`: of the ticks before, if there were any.
        """
        expressions = self._expressions
        extra = expressions.labels(stream, ended=True) if expressions is not None else NO_EXTRA
        headers = stream.request_headers
        grpc = headers is not None and is_grpc_request(headers)
        known = report.series if report is not None else None
        series = known.current() if known is not None else self._rules.http(stream)
        messages = stream.grpc_messages
        if grpc and messages is not None:
            if report is None:
                report = MessageReport()
            if known is None:
                report.begin(series, extra)
            report.report(messages)
        handles = series.http(
            "grpc" if grpc else "http",
            stream.response_code,
            grpc_status(stream) if grpc else "",
            stream.flag_names or "-",
            extra,
        )
        meter = stream.meter
        handles.record(
            (stream.end_ns - stream.start_ns) // 1_000_000 if stream.end_ns else None,
            meter.wire_received if meter is not None else 0,
            meter.wire_sent if meter is not None else 0,
            _traced(stream) if stream.trace is not None else None,
        )
        if expressions is not None and self._records_custom:
            self._metrics.record_custom(extra, expressions.values(stream, ended=True))


def _traced(stream: StreamInfo) -> tuple[str, str, float] | None:
    """Trace, span and end of a stream whose trace can be looked up."""
    trace = stream.trace
    if trace is None or not trace.sampled:
        return None
    return trace.trace_id, trace.span_id, stream.start_s + (stream.end_ns - stream.start_ns) / 1e9


class TcpReporter:
    """Reports one TCP connection, or HTTP stream that was upgraded: `tick` every reporting interval, `close` once.

    Reads the totals `stream.bytes_received` and `stream.bytes_sent` (towards downstream) and adds what is new. Nothing is
    reported before it is known who the peer is, except at the close. Labels, response flags included, are computed once.
    """

    __slots__ = (
        "_expressions",
        "_extra",
        "_flags",
        "_metrics",
        "_protocol",
        "_received",
        "_records_custom",
        "_rules",
        "_sent",
        "_series",
        "_stream",
        "_values",
    )

    def __init__(
        self,
        metrics: IstioMetrics,
        rules: LabelRules,
        stream: StreamInfo,
        expressions: Expressions | None = None,
        *,
        upgraded: bool = False,
        records_custom: bool = True,
    ) -> None:
        """`upgraded`: the labels, and the `request_protocol`, are those of an HTTP stream.

        `records_custom` False: another reporter counts the custom metrics, as that of the request does when upgraded.
        """
        self._metrics = metrics
        self._rules = rules
        self._expressions = expressions
        self._stream = stream
        self._protocol = "http" if upgraded else "tcp"
        self._records_custom = records_custom and not upgraded
        self._series: Series | None = None
        self._flags = ""
        self._extra: tuple[str, ...] = NO_EXTRA
        self._values: tuple[str, ...] = NO_EXTRA
        self._sent = 0
        self._received = 0

    def tick(self, waited: bool = False) -> None:
        """A reporting interval is over. `waited`: it is no longer waited for the peer."""
        if self._series is not None or waited or self._rules.tcp_peer_known(self._stream):
            self._report()

    def close(self) -> None:
        """The connection is closed; call once, with the last totals in place."""
        self._report().count_closed()
        if self._records_custom and self._metrics.plans.custom:
            self._metrics.record_custom(self._extra, self._values)

    def _report(self) -> TcpHandles:
        stream = self._stream
        series = self._series
        first = series is None
        if series is None:
            series = self._rules.tcp(stream) if self._protocol == "tcp" else self._rules.http(stream)
            self._flags = stream.flag_names or "-"
            if self._expressions is not None:
                self._extra = self._expressions.labels(stream, ended=False)
                self._values = self._expressions.values(stream, ended=False)
        self._series = series = series.current()
        handles = series.tcp(self._flags, self._extra, self._protocol)
        if first:
            handles.count_opened()
        handles.add_bytes(stream.bytes_sent - self._sent, stream.bytes_received - self._received)
        self._sent, self._received = stream.bytes_sent, stream.bytes_received
        return handles


class GatewayHttpReporter(HttpReporting):
    """The streams of a gateway: what it asked for as a source, and as the destination of its callers."""

    __slots__ = ("_of_callers", "_own")

    def __init__(self, own: HttpReporter, of_callers: HttpReporter) -> None:
        self._own = own
        self._of_callers = of_callers

    def tick(self, stream: StreamInfo, report: MessageReport) -> None:
        """See `HttpReporter.tick`."""
        if report.of_callers is None:
            report.of_callers = MessageReport()
        self._own.tick(stream, report)
        self._of_callers.tick(stream, report.of_callers)

    def end(self, stream: StreamInfo, report: MessageReport | None = None) -> None:
        """See `HttpReporter.end`."""
        self._own.end(stream, report)
        self._of_callers.end(stream, report.of_callers if report is not None else None)


class TcpReporting(Protocol):
    """What the TCP filter drives: one `TcpReporter`, or two."""

    def tick(self, waited: bool = False) -> None: ...

    def close(self) -> None: ...


class GatewayTcpReporter:
    """A connection of a gateway; see `GatewayHttpReporter`."""

    __slots__ = ("_of_callers", "_own")

    def __init__(self, own: TcpReporter, of_callers: TcpReporter) -> None:
        self._own = own
        self._of_callers = of_callers

    def tick(self, waited: bool = False) -> None:
        """See `TcpReporter.tick`."""
        self._own.tick(waited)
        self._of_callers.tick(waited)

    def close(self) -> None:
        """See `TcpReporter.close`."""
        self._own.close()
        self._of_callers.close()
