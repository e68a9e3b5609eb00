"""`stats.PluginConfig` as a network filter: Istio's TCP metrics, reported while the connection lives and at its end."""

from __future__ import annotations

import math

from config.model.istio import IstioStatsSpec
from sidecar.network.api import Connection, NetworkFilterFactory, PassThroughFilter
from sidecar.telemetry.istio_report import TcpReporting
from sidecar.telemetry.istio_setup import set_up_istio_stats
from sidecar.transport.flow import Flow
from sidecar.transport.timers import Cancellable
from sidecar.upstream.services import FilterContext


class IstioStats(PassThroughFilter):
    """One connection. It sees no bytes itself: the session's totals are what tcp_proxy counted."""

    __slots__ = ("_interval_s", "_reporter", "_timer", "_wait_until_s")

    def __init__(
        self, connection: Connection, reporter: TcpReporting, interval_s: float, peer_wait_s: float | None
    ) -> None:
        super().__init__(connection)
        self._reporter = reporter
        self._interval_s = interval_s
        self._wait_until_s = connection.timers.now() + peer_wait_s if peer_wait_s is not None else math.inf
        self._timer: Cancellable | None = None

    def on_open(self) -> Flow:
        self._arm()
        return Flow.CONTINUE

    def _arm(self) -> None:
        if self._interval_s > 0:
            self._timer = self.connection.timers.after(self._interval_s, self._tick)

    def _tick(self) -> None:
        self._reporter.tick(self.connection.timers.now() >= self._wait_until_s)
        self._arm()

    def on_close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._reporter.close()


class IstioStatsFactory:
    """Compiled once: label rules and metric handles."""

    def __init__(self, spec: IstioStatsSpec, context: FilterContext) -> None:
        services = context.services
        options = services.telemetry
        self._setup = set_up_istio_stats(spec, services.scope, services.node, context.direction, options)
        self._interval_s = spec.tcp_reporting_duration_s
        self._peer_wait_s = options.tcp_peer_wait_s

    def create(self, connection: Connection) -> IstioStats:
        session = connection.session
        assert session is not None, "istio_stats stands on a downstream connection"
        return IstioStats(connection, self._setup.tcp_reporter(session), self._interval_s, self._peer_wait_s)


def build(spec: IstioStatsSpec, context: FilterContext) -> NetworkFilterFactory:
    return IstioStatsFactory(spec, context)
