"""Access log filters compiled to predicates: an entry that is filtered out costs no formatting."""

from __future__ import annotations

import operator
import random
import re
import time
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from config.model import access_log_filter as spec
from config.model.access_log_filter import AccessLogFilterSpec, Comparison, ComparisonOp, ValueMatcher
from config.model.core import Node
from protocols.grpc.status import GrpcStatus, status_of
from protocols.http.headers import Headers
from sidecar.expressions.api import Expression
from sidecar.expressions.attributes import Scope
from sidecar.policy.header_matching import compile_header_matcher
from sidecar.policy.matching import compile_string_matcher
from sidecar.stream_info import StreamInfo, flag_of
from sidecar.telemetry.access_log.api import AccessLogger

Predicate: TypeAlias = Callable[[StreamInfo], bool]
_ValuePredicate: TypeAlias = Callable[[object], bool]

_COMPARE: Final[Mapping[ComparisonOp, Callable[[int, int], bool]]] = {
    ComparisonOp.EQ: operator.eq,
    ComparisonOp.GE: operator.ge,
    ComparisonOp.LE: operator.le,
    ComparisonOp.NE: operator.ne,
}
_NS_PER_MS: Final = 1_000_000
_NO_HEADERS: Final = Headers()
_REQUEST_ID: Final = b"x-request-id"
#: The first group of a UUID: Envoy takes it for the random number of a request.
_UUID_START: Final = re.compile(rb"[0-9a-fA-F]{8}-")


class FilteredAccessLogger:
    """A logger that is asked only for the entries that a filter lets through."""

    __slots__ = ("_inner", "_wanted")

    def __init__(self, inner: AccessLogger, wanted: Predicate) -> None:
        self._inner = inner
        self._wanted = wanted

    def log(self, info: StreamInfo) -> None:
        if self._wanted(info):
            self._inner.log(info)

    def flush(self) -> None:
        self._inner.flush()


class FilterCompiler:
    """Knows the runtime's values, the source of chance, and who we are."""

    def __init__(self, runtime: Mapping[str, object], chance: random.Random, node: Node) -> None:
        self._scope = Scope(node)
        self._runtime = runtime
        self._chance = chance

    def compile(self, filter_spec: AccessLogFilterSpec) -> Predicate:
        """Raises MatcherError for a bad regular expression. The predicate never raises."""
        match filter_spec:
            case spec.AndFilter():
                return _all_of(tuple(map(self.compile, filter_spec.filters)))
            case spec.OrFilter():
                return _any_of(tuple(map(self.compile, filter_spec.filters)))
            case spec.StatusCodeFilter():
                return self._status(filter_spec.comparison)
            case spec.DurationFilter():
                return self._duration(filter_spec.comparison)
            case spec.HeaderFilter():
                matches = compile_header_matcher(filter_spec.header)
                return lambda info: matches(info.request_headers or _NO_HEADERS)
            case spec.ResponseFlagFilter():
                return _flags(filter_spec.flags)
            case spec.GrpcStatusFilter():
                return _grpc_status(frozenset(filter_spec.statuses), filter_spec.exclude)
            case spec.RuntimeFilter():
                return self._share(filter_spec)
            case spec.MetadataFilter():
                return _metadata(filter_spec)
            case spec.LogTypeFilter():
                names, wanted = frozenset(filter_spec.types), not filter_spec.exclude
                return lambda info: (info.log_type in names) is wanted
            case spec.TraceableFilter():
                return lambda info: info.trace is not None and info.trace.sampled
            case spec.ExpressionFilter():
                return Expression(filter_spec.expression, self._scope).is_true
            case spec.NotHealthCheckFilter():
                return lambda info: True  # there is no filter here that answers health checks

    def _status(self, comparison: Comparison) -> Predicate:
        right, compare = self._right(comparison), _COMPARE[comparison.op]
        return lambda info: compare(info.response_code, right)

    def _duration(self, comparison: Comparison) -> Predicate:
        right, compare = self._right(comparison), _COMPARE[comparison.op]

        def wanted(info: StreamInfo) -> bool:
            end_ns = info.end_ns or time.monotonic_ns()
            return compare((end_ns - info.start_ns) // _NS_PER_MS, right)

        return wanted

    def _right(self, comparison: Comparison) -> int:
        value = self._runtime.get(comparison.runtime_key)
        return int(value) if isinstance(value, (int, float)) else comparison.value

    def _share(self, filter_spec: spec.RuntimeFilter) -> Predicate:
        value = self._runtime.get(filter_spec.runtime_key)
        numerator, denominator = filter_spec.numerator, filter_spec.denominator
        if isinstance(value, (int, float)):
            numerator, denominator = int(value), 100
        draw, independent = self._chance.getrandbits, filter_spec.independent

        def wanted(info: StreamInfo) -> bool:
            number = None if independent else _number_of_request(info)
            return (draw(32) if number is None else number) % denominator < numerator

        return wanted


def _number_of_request(info: StreamInfo) -> int | None:
    headers = info.request_headers
    value = headers.get(_REQUEST_ID) if headers is not None else None
    return int(value[:8], 16) if value is not None and _UUID_START.match(value) else None


def _all_of(predicates: tuple[Predicate, ...]) -> Predicate:
    def wanted(info: StreamInfo) -> bool:
        for predicate in predicates:  # noqa: SIM110 - no generator frame
            if not predicate(info):
                return False
        return True

    return wanted


def _any_of(predicates: tuple[Predicate, ...]) -> Predicate:
    def wanted(info: StreamInfo) -> bool:
        for predicate in predicates:  # noqa: SIM110 - no generator frame
            if predicate(info):
                return True
        return False

    return wanted


def _flags(flags: tuple[str, ...]) -> Predicate:
    if not flags:
        return lambda info: info.response_flags != 0
    mask = 0
    for name in flags:
        mask |= flag_of(name)
    return lambda info: info.response_flags & mask != 0


def _grpc_status(statuses: frozenset[int], exclude: bool) -> Predicate:
    """Of any response, as in Envoy: one without a gRPC status has that which its HTTP status stands for."""

    def wanted(info: StreamInfo) -> bool:
        status = status_of(info.response_trailers, info.response_headers, info.response_code)
        if status is None or not 0 <= status <= GrpcStatus.UNAUTHENTICATED:
            status = GrpcStatus.UNKNOWN
        return (status in statuses) is not exclude

    return wanted


# Dynamic metadata


def _metadata(filter_spec: spec.MetadataFilter) -> Predicate:
    namespace, path, default = filter_spec.namespace, filter_spec.path, filter_spec.default
    matches, wanted_verdict = compile_value_matcher(filter_spec.value), not filter_spec.invert

    def wanted(info: StreamInfo) -> bool:
        metadata = info.dynamic_metadata
        value: object = metadata.get(namespace) if metadata is not None else None
        for key in path:
            value = value.get(key, _ABSENT) if isinstance(value, Mapping) else _ABSENT
        if value is _ABSENT or (value is None and not path):
            return default
        return matches(value) is wanted_verdict

    return wanted


_ABSENT: Final = object()


def compile_value_matcher(matcher: ValueMatcher) -> _ValuePredicate:
    """A predicate on plain values. Raises MatcherError."""
    if matcher.any_of:
        inner = tuple(map(compile_value_matcher, matcher.any_of))
        return lambda value: any(each(value) for each in inner)
    if matcher.list_one_of is not None:
        one = compile_value_matcher(matcher.list_one_of)
        return lambda value: isinstance(value, (list, tuple)) and any(map(one, value))
    if matcher.string is not None:
        judge = compile_string_matcher(matcher.string)
        return lambda value: isinstance(value, str) and judge(value)
    if matcher.boolean is not None:
        return lambda value: value is matcher.boolean
    if matcher.null:
        return lambda value: value is None
    if matcher.number is not None:
        return lambda value: _is_number(value) and value == matcher.number
    if matcher.number_range is not None:
        start, end = matcher.number_range
        return lambda value: isinstance(value, (int, float)) and _is_number(value) and start <= value < end
    return lambda value: (value is not None) is matcher.present


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
