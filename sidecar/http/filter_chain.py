"""The HTTP filters of one connection manager, compiled to one tuple of positions per phase.

A stream visits, in each phase, only the filters that override the phase's method: a body chunk never meets a filter that does
not look at bodies. Requests run in configured order, responses in reverse (Envoy).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from sidecar.http.api import HttpFilter, HttpFilterFactory
from sidecar.http.held_message import HeaderStep, Steps

if TYPE_CHECKING:
    from sidecar.http.api import Stream


_NOTHING: Final = HttpFilter()


class FilterChain:
    """Immutable. Each phase is a tuple of positions in the list that `new_filters` returns.

    `names` are the configured ones, by which routes turn filters off and on; `off` are the positions of those that are off
    unless a route names them. In the place of a filter that is off stands one that does nothing.
    """

    __slots__ = (
        "_off",
        "factories",
        "names",
        "request_data",
        "request_headers",
        "request_trailers",
        "response_data",
        "response_headers",
        "response_trailers",
        "stream_end",
    )

    def __init__(
        self,
        factories: Sequence[HttpFilterFactory],
        names: Sequence[str] = (),
        off: frozenset[int] = frozenset(),
    ) -> None:
        self.names = tuple(names)
        self._off = off
        self.factories: Final = tuple(factories)
        self.request_headers: Final = self._phase("on_request_headers")
        self.request_data: Final = self._phase("on_request_data")
        self.request_trailers: Final = self._phase("on_request_trailers")
        self.response_headers: Final = self._phase("on_response_headers")[::-1]
        self.response_data: Final = self._phase("on_response_data")[::-1]
        self.response_trailers: Final = self._phase("on_response_trailers")[::-1]
        self.stream_end: Final = self._phase("on_stream_end")[::-1]

    def _phase(self, method: str) -> tuple[int, ...]:
        return tuple(i for i, f in enumerate(self.factories) if overrides(f.filter_type, method))

    def new_filters(self, stream: Stream) -> tuple[HttpFilter, ...]:
        """The filters of one stream, in configured order. Its route is known, if it has one."""
        route = stream.route
        overrides = route.overrides if route is not None else None
        if not overrides and not self._off:
            return tuple([factory.for_stream(stream) for factory in self.factories])
        off = {at for at in self._off if not overrides or self.names[at] not in overrides}
        if overrides:
            off.update(
                at
                for at, name in enumerate(self.names)
                if (override := overrides.get(name)) is not None and override.disabled
            )
        return tuple(
            [
                _NOTHING if at in off else factory.for_stream(stream)
                for at, factory in enumerate(self.factories)
            ]
        )

    def request_steps(
        self,
        filters: tuple[HttpFilter, ...],
        headers: tuple[int, ...],
        trailers: tuple[int, ...] | None = None,
    ) -> Steps:
        """What a held request has before it: `headers` and `trailers` are the positions still to be visited (None: all)."""
        return Steps(
            tuple([(at, filters[at].on_request_headers) for at in headers]),
            tuple([(at, filters[at].on_request_data) for at in self.request_data]),
            tuple(
                [
                    (at, filters[at].on_request_trailers)
                    for at in (self.request_trailers if trailers is None else trailers)
                ]
            ),
        )

    def response_steps(
        self,
        filters: tuple[HttpFilter, ...],
        headers: tuple[int, ...] | None,
        trailers: tuple[int, ...] | None,
        last: Steps,
    ) -> Steps:
        """The same for a held response. `headers` None: they are through. `last`: the encoder, behind all filters."""
        head: tuple[HeaderStep, ...] = ()
        if headers is not None:
            head = (*[(-1 - at, filters[at].on_response_headers) for at in headers], *last.headers)
        places = self.response_trailers if trailers is None else trailers
        return Steps(
            head,
            (*[(-1 - at, filters[at].on_response_data) for at in self.response_data], *last.data),
            (*[(-1 - at, filters[at].on_response_trailers) for at in places], *last.trailers),
        )


def overrides(filter_type: type[HttpFilter], method: str) -> bool:
    """Whether a filter takes part in a phase: its method is not the default of `HttpFilter`."""
    return getattr(filter_type, method) is not getattr(HttpFilter, method)
