"""`stats.PluginConfig` as an HTTP filter: Istio's standard metrics, counted when a stream ends."""

from __future__ import annotations

from config.model.istio import IstioStatsSpec
from sidecar.http.api import HttpFilter, HttpFilterFactory, PassThrough, Stream
from sidecar.telemetry.istio_report import HttpReporter
from sidecar.telemetry.istio_setup import set_up_istio_stats
from sidecar.upstream.services import FilterContext


class IstioStats(PassThrough):
    """Shared by all streams: what is reported is in the StreamInfo."""

    __slots__ = ("_reporter",)

    def __init__(self, reporter: HttpReporter) -> None:
        self._reporter = reporter

    def on_stream_end(self, stream: Stream) -> None:
        self._reporter.end(stream.info)


class IstioStatsFactory:
    """Compiled once: label rules and metric handles."""

    filter_type: type[HttpFilter] = IstioStats

    def __init__(self, spec: IstioStatsSpec, context: FilterContext) -> None:
        services = context.services
        setup = set_up_istio_stats(spec, services.scope, services.node, context.direction)
        self._shared = IstioStats(HttpReporter(setup.metrics, setup.rules))

    def for_stream(self, stream: Stream) -> IstioStats:
        return self._shared


def build(spec: IstioStatsSpec, context: FilterContext) -> HttpFilterFactory:
    return IstioStatsFactory(spec, context)
