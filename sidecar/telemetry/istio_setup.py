"""What an `istio_stats` filter needs, HTTP and TCP alike, made from its configuration."""

from __future__ import annotations

import logging
from typing import NamedTuple

from config.model.core import Node, TrafficDirection
from config.model.istio import IstioStatsSpec
from sidecar.telemetry.istio import LabelRules, LocalWorkload, plans_of, side_of
from stats.istio import NAMESPACE, IstioMetrics, set_build
from stats.store import Rotation, Scope

logger = logging.getLogger(__name__)


class IstioStatsSetup(NamedTuple):
    """Where to count, and how labels are found."""

    metrics: IstioMetrics
    rules: LabelRules


def set_up_istio_stats(
    spec: IstioStatsSpec, root: Scope, node: Node, direction: TrafficDirection
) -> IstioStatsSetup:
    """One for each configured filter. Loading a configuration is what sets `istio_build`."""
    scope = root.scope(NAMESPACE, evictable=True)
    if spec.rotation_interval_s > 0:
        scope.rotation = Rotation(spec.rotation_interval_s, spec.graceful_deletion_interval_s)
    _warn_of_ceiling(root)
    metrics = IstioMetrics(
        scope,
        plans_of(spec),
    )
    version = node.metadata.get("ISTIO_VERSION")
    set_build(root.scope(NAMESPACE), version if isinstance(version, str) else "")
    rules = LabelRules(
        metrics,
        LocalWorkload.from_node(node),
        side_of(spec.reporter, direction),
        spec.disable_host_header_fallback,
    )
    return IstioStatsSetup(metrics, rules)


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
