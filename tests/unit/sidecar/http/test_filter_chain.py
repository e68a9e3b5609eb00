"""A stream meets a filter only in the phases the filter takes part in."""

from __future__ import annotations

import pytest

from protocols.http.headers import Headers
from sidecar.http.api import HttpFilter, HttpFilterFactory, Stream
from sidecar.http.filter_chain import FilterChain, overrides
from sidecar.http.route import DirectResponseRoute, LiveOverride, RouteInfo
from sidecar.transport.flow import CONTINUE, Flow, Held
from tests.support.http_floor import stream_of


class Heads(HttpFilter):
    def on_request_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
        return CONTINUE

    def on_response_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
        return CONTINUE


class Bodies(HttpFilter):
    def on_request_data(self, stream: Stream, data: bytes, end: bool) -> bytes | Held:
        return data

    def on_stream_end(self, stream: Stream) -> None:
        return None


class MoreHeads(Heads):
    """Inherits what it takes part in."""


class Factory(HttpFilterFactory):
    def for_stream(self, stream: Stream) -> HttpFilter:
        return self.filter_type()


def stream_on(overrides_of_route: dict[str, LiveOverride] | None) -> Stream:
    """None: no route matched."""
    if overrides_of_route is None:
        return stream_of()
    return stream_of(
        live_route=DirectResponseRoute(RouteInfo("", "", overrides=overrides_of_route), 200, b"")
    )


def test_phases() -> None:
    chain = FilterChain([Factory(Heads), Factory(Bodies), Factory(MoreHeads), Factory(HttpFilter)])
    assert chain.request_headers == (0, 2)
    assert chain.response_headers == (2, 0)
    assert chain.request_data == (1,)
    assert chain.response_data == ()
    assert chain.stream_end == (1,)
    assert chain.request_trailers == chain.response_trailers == ()


def test_every_stream_has_its_own_filters() -> None:
    chain = FilterChain([Factory(Heads), Factory(Bodies)])
    stream = stream_on(None)
    first, second = chain.new_filters(stream), chain.new_filters(stream)
    assert [type(each) for each in first] == [Heads, Bodies]
    assert first[0] is not second[0]


OFF, ON = LiveOverride(True, None), LiveOverride(False, None)


@pytest.mark.parametrize(
    ("of_route", "types"),
    [
        (None, [Heads, HttpFilter]),
        ({}, [Heads, HttpFilter]),
        ({"a": OFF}, [HttpFilter, HttpFilter]),
        ({"b": ON}, [Heads, Bodies]),
        ({"a": ON, "b": OFF, "c": OFF}, [Heads, HttpFilter]),
    ],
)
def test_routes_turn_filters_off_and_on(
    of_route: dict[str, LiveOverride] | None, types: list[type[HttpFilter]]
) -> None:
    """`b` is off unless a route names it."""
    chain = FilterChain([Factory(Heads), Factory(Bodies)], ["a", "b"], frozenset({1}))
    assert [type(each) for each in chain.new_filters(stream_on(of_route))] == types


def test_overrides() -> None:
    assert overrides(Heads, "on_request_headers")
    assert overrides(MoreHeads, "on_request_headers")
    assert not overrides(Heads, "on_request_data")
