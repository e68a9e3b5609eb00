"""Every listener filter spec has exactly one builder."""

from __future__ import annotations

from typing import get_args

from config.model.listener import ListenerFilterSpec
from sidecar.listener.registry import LISTENER_FILTERS, listener_filter_builder


def test_every_spec_has_a_builder() -> None:
    assert set(LISTENER_FILTERS) == set(get_args(ListenerFilterSpec))
    assert len({listener_filter_builder(spec) for spec in LISTENER_FILTERS}) == len(LISTENER_FILTERS)
