"""What an `istio_stats` filter is made of."""

from __future__ import annotations

import logging

import pytest

from config.model.core import Node, TrafficDirection
from config.model.istio import IstioStatsSpec
from sidecar.telemetry.istio_setup import set_up_istio_stats
from stats.istio import PEER_LABELS
from stats.store import Store


def test_all_filters_share_one_ceiling_and_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("stats.istio.MAX_LABEL_SETS", 4)
    store = Store()
    setups = [
        set_up_istio_stats(IstioStatsSpec(), store.root, Node(), direction)
        for direction in (TrafficDirection.INBOUND, TrafficDirection.OUTBOUND)
    ]
    values = ("x",) * (len(PEER_LABELS) - 1)
    with caplog.at_level(logging.WARNING):
        for number in range(8):
            series = setups[number % 2].metrics.series((*values, str(number)), "none")
            series.http("http", 200, "", "-").record(1, 1, 1)
    assert len(store.label_sets) == 5  # istio_build, three clients, the overflow
    assert store.counters["istio_stats.series_overflow_total"].value == 20
    (record,) = caplog.records
    assert "most of them by destination_cluster" in record.getMessage()
