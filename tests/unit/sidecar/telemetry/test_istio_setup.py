"""What an `istio_stats` filter is made of."""

from __future__ import annotations

import logging

import pytest

from config.model.core import Node, TrafficDirection
from config.model.istio import IstioStatsSpec
from sidecar.telemetry.istio_setup import set_up_istio_stats
from stats.istio import PEER_LABELS
from stats.store import Rotation, Store


def test_all_filters_share_one_ceiling_and_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    store = Store(max_series=4)
    setups = [
        set_up_istio_stats(IstioStatsSpec(), store.root, Node(), direction)
        for direction in (TrafficDirection.INBOUND, TrafficDirection.OUTBOUND)
    ]
    values = ("x",) * (len(PEER_LABELS) - 1)
    with caplog.at_level(logging.WARNING):
        for number in range(8):
            series = setups[number % 2].metrics.series((*values, str(number)), "none")
            series.messages().request_messages_total.inc()
    assert len(store.series["istiocustom.istio_request_messages_total"]) == 5  # with the overflow
    assert store.counters["istio_stats.series_overflow_total"].value == 8
    requests, responses = caplog.records
    assert requests.getMessage() == (
        "istio_stats: istio_request_messages_total has 4 series; its label destination_cluster has 4 values: what is new "
        "is counted in series labelled overflow"
    )
    assert "istio_response_messages_total" in responses.getMessage()


def test_rotation_and_what_is_never_evicted() -> None:
    store = Store()
    spec = IstioStatsSpec(rotation_interval_s=600, graceful_deletion_interval_s=60)
    set_up_istio_stats(spec, store.root, Node(), TrafficDirection.INBOUND)
    set_up_istio_stats(IstioStatsSpec(), store.root, Node(), TrafficDirection.INBOUND)
    assert [scope.rotation for scope in store.evictable] == [Rotation(600, 60), None]
    for _ in range(3):
        store.evict_unused()
    (build,) = store.gauges.values()
    assert (build.tag_extracted_name, build.value) == ("istiocustom.istio_build", 1)
