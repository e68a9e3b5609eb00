"""What an `istio_stats` filter needs, HTTP and TCP alike, made from its configuration."""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

from config.model.core import Node, TrafficDirection
from config.model.istio import IstioStatsSpec
from config.model.telemetry import NO_OPTIONS, TelemetryOptions
from sidecar.stream_info import StreamInfo
from sidecar.telemetry.istio import LabelRules, LocalWorkload, ReporterSide, plans_of, side_of
from sidecar.telemetry.istio_expressions import ConfiguredExpressions
from sidecar.telemetry.istio_report import (
    Expressions,
    GatewayHttpReporter,
    GatewayTcpReporter,
    HttpReporter,
    HttpReporting,
    TcpReporter,
    TcpReporting,
)
from stats.istio import NAMESPACE, IstioMetrics, set_build
from stats.store import Rotation, Scope

logger = logging.getLogger(__name__)


#: How the ids of gateways' nodes begin (Istio).
_GATEWAY_NODE: Final = "router~"


class IstioStatsSetup(NamedTuple):
    """Where to count, and how labels are found. `caller_rules`: of a gateway that reports its callers, too.

    `expressions` None: none are configured.
    """

    metrics: IstioMetrics
    rules: LabelRules
    caller_rules: LabelRules | None
    expressions: Expressions | None

    def http_reporter(self) -> HttpReporting:
        """For all streams of the filter."""
        own = HttpReporter(self.metrics, self.rules, self.expressions)
        if self.caller_rules is None:
            return own
        of_callers = HttpReporter(self.metrics, self.caller_rules, self.expressions, records_custom=False)
        return GatewayHttpReporter(own, of_callers)

    def tcp_reporter(self, stream: StreamInfo, *, upgraded: bool = False) -> TcpReporting:
        """For one connection, or for one HTTP stream that was upgraded."""
        own = TcpReporter(self.metrics, self.rules, stream, self.expressions, upgraded=upgraded)
        if self.caller_rules is None:
            return own
        of_callers = TcpReporter(
            self.metrics,
            self.caller_rules,
            stream,
            self.expressions,
            upgraded=upgraded,
            records_custom=False,
        )
        return GatewayTcpReporter(own, of_callers)


def reports_callers(options: TelemetryOptions, node: Node, direction: TrafficDirection) -> bool:
    """Whether a listener is one of a gateway that tells its callers apart (the opt-in `gateway_destination_reporter`)."""
    return (
        options.gateway_destination_reporter
        and node.id.startswith(_GATEWAY_NODE)
        and direction is not TrafficDirection.INBOUND
    )


def set_up_istio_stats(
    spec: IstioStatsSpec,
    root: Scope,
    node: Node,
    direction: TrafficDirection,
    options: TelemetryOptions = NO_OPTIONS,
) -> IstioStatsSetup:
    """One for each configured filter. Loading a configuration is what sets `istio_build`."""
    scope = root.scope(NAMESPACE, evictable=True)
    if spec.rotation_interval_s > 0:
        rotation = Rotation(spec.rotation_interval_s, spec.graceful_deletion_interval_s)
        scope.rotation = rotation.or_slower(scope.rotation)
    _warn_of_ceiling(root)
    expressions = ConfiguredExpressions(node)
    metrics = IstioMetrics(
        scope,
        plans_of(spec, expressions),
    )
    version = node.metadata.get("ISTIO_VERSION")
    set_build(root.scope(NAMESPACE), version if isinstance(version, str) else "")
    local, side = LocalWorkload.from_node(node), side_of(spec.reporter, direction)
    no_host_header = spec.disable_host_header_fallback
    rules = LabelRules(metrics, local, side, no_host_header, options.unmatched_destination_service)
    caller_rules = None
    if side is ReporterSide.SOURCE and reports_callers(options, node, direction):
        caller_rules = LabelRules(metrics, local, ReporterSide.GATEWAY, no_host_header)
    return IstioStatsSetup(metrics, rules, caller_rules, None if expressions.is_empty else expressions)


def _warn_of_ceiling(root: Scope) -> None:
    """All filters share their series, and so the ceiling."""
    ceiling = root.store.ceiling

    def warn(metric: str, label: str, values: int) -> None:
        logger.warning(
            "istio_stats: %s has %d series; its label %s has %d values: what is new is counted in series labelled overflow",
            metric,
            ceiling.max_series,
            label,
            values,
        )

    ceiling.tell = warn
    ceiling.overflows = root.counter("istio_stats.series_overflow_total")
