"""Every network filter spec has exactly one builder."""

from __future__ import annotations

from typing import get_args

from config.model.network import NetworkFilterSpec
from sidecar.network.registry import NETWORK_FILTERS, network_filter_builder


def test_every_spec_has_a_builder() -> None:
    assert set(NETWORK_FILTERS) == set(get_args(NetworkFilterSpec))
    assert len({network_filter_builder(spec) for spec in NETWORK_FILTERS}) == len(NETWORK_FILTERS)
