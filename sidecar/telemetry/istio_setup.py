"""What an `istio_stats` filter needs, HTTP and TCP alike, made from its configuration."""

from __future__ import annotations

import logging
from typing import NamedTuple

from config.model.core import Node, TrafficDirection
from config.model.istio import IstioStatsSpec
from sidecar.telemetry.istio import LabelRules, LocalWorkload, plans_of, side_of
from stats.istio import MAX_LABEL_SETS, NAMESPACE, IstioMetrics, set_build
from stats.store import Scope

logger = logging.getLogger(__name__)


class IstioStatsSetup(NamedTuple):
    """Where to count, and how labels are found."""

    metrics: IstioMetrics
    rules: LabelRules


def set_up_istio_stats(
    spec: IstioStatsSpec, root: Scope, node: Node, direction: TrafficDirection
) -> IstioStatsSetup:
    """One for each configured filter. Loading a configuration is what sets `istio_build`."""
    metrics = IstioMetrics(
        root.scope(NAMESPACE, evictable=True),
        plans_of(spec),
        root.counter("istio_stats.series_overflow_total"),
        _warn_of_overflow,
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


def _warn_of_overflow(label: str) -> None:
    logger.warning(
        "istio_stats: more than %d label sets, most of them by %s: what is new is counted in series labelled overflow",
        MAX_LABEL_SETS,
        label,
    )
