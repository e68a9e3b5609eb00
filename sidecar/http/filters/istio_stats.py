"""`stats.PluginConfig` as an HTTP filter: Istio's standard metrics, counted when a stream ends.

The messages of gRPC streams, which may be long, are reported on the way as well.
"""

from __future__ import annotations

from config.model.istio import IstioStatsSpec
from protocols.grpc.status import is_grpc_request, may_become_grpc
from sidecar.http.api import HttpFilter, HttpFilterFactory, Stream
from sidecar.stream_info import StreamInfo
from sidecar.telemetry.istio_report import HttpReporting, MessageReport, TcpReporting
from sidecar.telemetry.istio_setup import set_up_istio_stats
from sidecar.transport.timers import Cancellable, Timers
from sidecar.upstream.services import FilterContext


class IstioStats(HttpFilter):
    """Shared by all streams but those of gRPC: what is reported is in the StreamInfo."""

    __slots__ = ("_reporter",)

    def __init__(self, reporter: HttpReporting) -> None:
        self._reporter = reporter

    def on_stream_end(self, stream: Stream) -> None:
        self._reporter.end(stream.info)


class GrpcIstioStats(IstioStats):
    """One stream of gRPC: its messages are reported every interval, counted from the request's head on."""

    __slots__ = ("_info", "_interval_s", "_report", "_timer", "_timers")

    def __init__(self, reporter: HttpReporting, info: StreamInfo, timers: Timers, interval_s: float) -> None:
        super().__init__(reporter)
        self._info = info
        self._report = MessageReport()
        self._timers = timers
        self._interval_s = interval_s
        self._timer: Cancellable | None = timers.after(interval_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        headers = self._info.request_headers
        # gRPC-Web that nobody has translated is HTTP
        if headers is not None and is_grpc_request(headers):
            self._reporter.tick(self._info, self._report)
            self._timer = self._timers.after(self._interval_s, self._tick)

    def on_stream_end(self, stream: Stream) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._reporter.end(stream.info, self._report)


class UpgradeIstioStats(IstioStats):
    """One stream that may become a tunnel: once it is one, its bytes are reported every interval, as those of TCP.

    Its own report as a request comes at its end, as everybody's.
    """

    __slots__ = ("_interval_s", "_stream", "_timer", "_tunnel")

    def __init__(
        self, reporter: HttpReporting, stream: Stream, tunnel: TcpReporting, interval_s: float
    ) -> None:
        super().__init__(reporter)
        self._stream = stream
        self._tunnel = tunnel
        self._interval_s = interval_s
        self._timer: Cancellable | None = None
        self._arm()

    def _arm(self) -> None:
        if self._interval_s > 0:
            self._timer = self._stream.services.timers.after(self._interval_s, self._tick)

    def _tick(self) -> None:
        if self._stream.is_upgraded:  # then its head has said who the peer is
            self._tunnel.tick(waited=True)
        self._arm()

    def on_stream_end(self, stream: Stream) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if stream.is_upgraded:
            self._tunnel.close()
        self._reporter.end(stream.info)


class IstioStatsFactory(HttpFilterFactory):
    """Compiled once: label rules and metric handles."""

    def __init__(self, spec: IstioStatsSpec, context: FilterContext) -> None:
        super().__init__(IstioStats)
        services = context.services
        setup = set_up_istio_stats(spec, services.scope, services.node, context.direction, services.telemetry)
        self._setup = setup
        self._reporter = setup.http_reporter()
        self._shared = IstioStats(self._reporter)
        self._timers = services.timers
        self._interval_s = spec.tcp_reporting_duration_s

    def for_stream(self, stream: Stream) -> IstioStats:
        """Called when the head of the request has come: where the intervals begin. An interval of 0: no reports on the way."""
        if stream.wants_tunnel:
            tunnel = self._setup.tcp_reporter(stream.info, upgraded=True)
            return UpgradeIstioStats(self._reporter, stream, tunnel, self._interval_s)
        headers = stream.request_headers
        if self._interval_s > 0 and headers is not None and may_become_grpc(headers):
            return GrpcIstioStats(self._reporter, stream.info, self._timers, self._interval_s)
        return self._shared


def build(spec: IstioStatsSpec, context: FilterContext) -> HttpFilterFactory:
    return IstioStatsFactory(spec, context)
