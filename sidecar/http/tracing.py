"""Which requests are traced, and how their spans are named and tagged: a connection manager's tracing, compiled.

The decision is Envoy's: the request id says it if an earlier proxy has decided; else a client's `x-client-trace-id`, a service's
`x-envoy-force-trace`, or the number in the id. What is decided is written into the id, for those that come after.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from config.model.core import TrafficDirection
from config.model.http import RequestIdSpec
from config.model.tracing import RouteTracing, Sampling, TracingSpec
from protocols.http.headers import Headers
from sidecar.http.request_id import TraceReason, random_number_of, reason_of, with_reason
from sidecar.http.stream_trace import DECORATOR, StreamTrace, TraceRules
from sidecar.telemetry.access_log.format import compile_format
from sidecar.telemetry.tracing.custom_tags import compile_tags
from sidecar.telemetry.tracing.span import NoTracer

if TYPE_CHECKING:
    from mypy_extensions import i64

    from sidecar.http.route import Route
    from sidecar.stream_info import StreamInfo
    from sidecar.telemetry.tracing.span import Tracer
    from sidecar.upstream.services import FilterContext
    from stats.families import TracingStats

_REQUEST_ID: Final = b"x-request-id"
_CLIENT_TRACE_ID: Final = b"x-client-trace-id"
_FORCE_TRACE: Final = b"x-envoy-force-trace"

#: Chances are in hundredths of a percent.
_WHOLE: Final = 10_000
_PERCENT: Final = 100


def _has_any(fields: dict[bytes, bytes], names: tuple[bytes, ...]) -> bool:
    """`Headers.has_any` for few names: a look for each is cheaper than one at each of the request's."""
    return any(name in fields for name in names)


class _Chance:
    """Of `limit` in `whole`."""

    __slots__ = ("_limit", "_whole")

    def __init__(self, limit: int, whole: int) -> None:
        self._limit: i64 = limit
        self._whole: i64 = whole

    def takes(self, random: i64) -> bool:
        return random % self._whole < self._limit

    @property
    def takes_all(self) -> bool:
        return self._limit >= self._whole


class _Chances:
    """`Sampling` with what the runtime says instead; `random` is a number below 10,000 that belongs to the request.

    `overall` None: there is no such limit.
    """

    __slots__ = ("client", "overall", "random")

    def __init__(self, sampling: Sampling, runtime: Mapping[str, object]) -> None:
        self.client = _chance("tracing.client_enabled", sampling.client, runtime)
        self.random = _chance("tracing.random_sampling", sampling.random, runtime)
        overall = _chance("tracing.global_enabled", sampling.overall, runtime)
        self.overall = None if overall.takes_all else overall


def _chance(key: str, ratio: float, runtime: Mapping[str, object]) -> _Chance:
    """A whole number of the runtime is a percentage."""
    value = runtime.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return _Chance(min(int(value), _PERCENT), _PERCENT)
    return _Chance(int(ratio * _WHOLE + 1e-6), _WHOLE)


class HttpTracing:
    """Compiled from one TracingSpec; shared by all connections of its connection manager."""

    def __init__(
        self, spec: TracingSpec, request_id: RequestIdSpec, context: FilterContext, stats: TracingStats
    ) -> None:
        """May raise FormatError."""
        services = context.services
        self._spec = spec
        self._asks_id = request_id.use_request_id_for_trace_sampling
        self._packs = request_id.pack_trace_reason
        self._runtime = services.runtime
        self._random = services.random
        self._node = services.node
        self._outbound = context.direction is TrafficDirection.OUTBOUND
        self._has_spans = spec.provider is not None
        self._tracer: Tracer = services.tracer(spec.provider) if spec.provider is not None else NoTracer()
        #: Where a request has none of these, it says nothing of tracing.
        self._speaking = tuple(self._tracer.reads | {_CLIENT_TRACE_ID, _FORCE_TRACE, DECORATOR})
        self._not_traceable = stats.not_traceable
        self._counters = {
            TraceReason.SAMPLING: stats.random_sampling,
            TraceReason.SERVICE_FORCED: stats.service_forced,
            TraceReason.CLIENT_FORCED: stats.client_enabled,
        }
        self._chances = _Chances(spec.sampling, services.runtime)
        self._rules = self._compile(None)
        self._of_routes: dict[Route, tuple[_Chances, TraceRules]] = {}

    def _compile(self, route: RouteTracing | None) -> TraceRules:
        spec, node = self._spec, self._node
        own_tags = route.custom_tags if route is not None else ()
        operation = (route.operation if route is not None else "") or spec.operation
        upstream_operation = (
            route.upstream_operation if route is not None else ""
        ) or spec.upstream_operation
        return TraceRules(
            node_id=node.id,
            zone=node.locality.zone,
            outbound=self._outbound,
            verbose=spec.verbose,
            max_path_tag_length=spec.max_path_tag_length,
            spawn_upstream_span=spec.spawn_upstream_span,
            custom_tags=compile_tags((*own_tags, *spec.custom_tags), os.environ),
            operation=compile_format(operation) if operation else None,
            upstream_operation=compile_format(upstream_operation) if upstream_operation else None,
        )

    def _of_route(self, route: Route) -> tuple[_Chances, TraceRules]:
        """What a route says differently, compiled once."""
        found = self._of_routes.get(route)
        if found is None:
            tracing = route.tracing
            if tracing is None:
                found = self._chances, self._rules
            else:
                found = _Chances(tracing.sampling, self._runtime), self._compile(tracing)
            self._of_routes[route] = found
        return found

    def begin(self, headers: Headers, info: StreamInfo, route: Route | None) -> StreamTrace:
        """A request was routed: decide, count, and begin its span."""
        chances, rules = self._chances, self._rules
        if route is not None and route.tracing is not None:
            chances, rules = self._of_route(route)
        speaks = _has_any(headers.first, self._speaking)
        reason = self._decide(headers, chances, speaks)
        traced = reason is not TraceReason.NOT_TRACEABLE
        if traced:
            self._counters[reason].inc()
        else:
            self._not_traceable.inc()
        tracer = self._tracer
        trace = StreamTrace(rules, tracer, headers.authority)
        tracer.start(
            trace,
            headers if speaks else None,
            as_server=not self._outbound or rules.spawn_upstream_span,
            traced=traced,
        )
        if self._has_spans:
            info.trace = trace
        if route is not None and route.operation is not None:
            trace.decorate(headers, route.operation)
        elif speaks and DECORATOR in headers:
            trace.decorate(headers, None)
        return trace

    def _decide(self, headers: Headers, chances: _Chances, speaks: bool) -> TraceReason:
        if not self._asks_id:
            return TraceReason.SAMPLING
        request_id = headers.get(_REQUEST_ID)
        if request_id is None:
            return TraceReason.NOT_TRACEABLE
        number: i64 = random_number_of(request_id)
        if number < 0:
            return TraceReason.NOT_TRACEABLE
        number %= _WHOLE
        packs = self._packs
        reason = was = reason_of(request_id) if packs else TraceReason.NOT_TRACEABLE
        if reason is TraceReason.NOT_TRACEABLE:
            asked = self._asked(headers, chances) if speaks else None
            if asked is not None:
                reason = asked
            elif chances.random.takes(number):
                reason = TraceReason.SAMPLING
        overall = chances.overall
        if overall is not None and reason is not TraceReason.NOT_TRACEABLE and not overall.takes(number):
            reason = TraceReason.NOT_TRACEABLE
        if reason is not was and packs:
            headers.set(_REQUEST_ID, with_reason(request_id, reason))
        return reason

    def _asked(self, headers: Headers, chances: _Chances) -> TraceReason | None:
        """A client, or a service, wants to be traced."""
        if _CLIENT_TRACE_ID in headers and chances.client.takes(self._random.randrange(_WHOLE)):
            return TraceReason.CLIENT_FORCED
        return TraceReason.SERVICE_FORCED if _FORCE_TRACE in headers else None
