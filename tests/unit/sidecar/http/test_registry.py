"""Every filter spec has exactly one builder."""

from __future__ import annotations

from typing import get_args

from config.model.http import HttpFilterSpec, RouterSpec
from sidecar.http.filters.router import RouterFactory
from sidecar.http.registry import HTTP_FILTERS, build_http_filter, http_filter_builder
from sidecar.upstream.services import FilterContext
from tests.support.http_floor import HttpFloor


def test_every_spec_has_a_builder() -> None:
    assert set(HTTP_FILTERS) == set(get_args(HttpFilterSpec))
    assert len({http_filter_builder(spec) for spec in HTTP_FILTERS}) == len(HTTP_FILTERS)


def test_build() -> None:
    context = FilterContext(HttpFloor().services, stat_prefix="a:b")
    factory = build_http_filter(RouterSpec(), context)
    assert isinstance(factory, RouterFactory)
    assert factory.stats.rq_total.name == "http.a:b.rq_total", "the router keeps colons"
