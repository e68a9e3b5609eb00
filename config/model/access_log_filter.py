"""Access log filters (envoy.config.accesslog.v3.AccessLogFilter): which entries are written."""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from config.model.expression import Node
from config.model.matching import HeaderMatcher, StringMatcher


class ComparisonOp(enum.Enum):
    EQ = 0
    GE = 1
    LE = 2
    NE = 3


class Comparison(msgspec.Struct, frozen=True):
    """`ComparisonFilter`: the value of `runtime_key` if it is set, else `value`, stands on the right."""

    op: ComparisonOp
    value: int
    runtime_key: str = ""


class StatusCodeFilter(msgspec.Struct, frozen=True):
    """A stream without a response has the code 0."""

    comparison: Comparison


class DurationFilter(msgspec.Struct, frozen=True):
    """In milliseconds."""

    comparison: Comparison


class NotHealthCheckFilter(msgspec.Struct, frozen=True):
    """Entries of requests that the health check filter did not recognise as checks."""


class TraceableFilter(msgspec.Struct, frozen=True):
    """Entries of requests that are traced."""


class RuntimeFilter(msgspec.Struct, frozen=True):
    """A share of the entries, `ratio` from 0.0 to 1.0 with steps of 1 / `denominator`.

    `runtime_key` may set another numerator, of 100. The request id decides, so that all proxies on the way log the same requests,
    unless `independent`.
    """

    runtime_key: str
    numerator: int
    denominator: int
    independent: bool = False


class HeaderFilter(msgspec.Struct, frozen=True):
    """On the request's headers."""

    header: HeaderMatcher


class ResponseFlagFilter(msgspec.Struct, frozen=True):
    """Any of the flags (their short names); any flag at all if there are none."""

    flags: tuple[str, ...]


class GrpcStatusFilter(msgspec.Struct, frozen=True):
    """The gRPC status is one of `statuses`, or none of them if `exclude`."""

    statuses: tuple[int, ...]
    exclude: bool = False


class ValueMatcher(msgspec.Struct, frozen=True):
    """`envoy.type.matcher.v3.ValueMatcher`: exactly one field is set (`null` by True)."""

    null: bool = False
    number: float | None = None
    number_range: tuple[float, float] | None = None  # [start, end)
    string: StringMatcher | None = None
    boolean: bool | None = None
    present: bool | None = None
    list_one_of: ValueMatcher | None = None
    any_of: tuple[ValueMatcher, ...] = ()


class MetadataFilter(msgspec.Struct, frozen=True):
    """On the dynamic metadata; `default` is the verdict where the path leads nowhere."""

    namespace: str
    path: tuple[str, ...]
    value: ValueMatcher
    invert: bool = False
    default: bool = True


class LogTypeFilter(msgspec.Struct, frozen=True):
    """The type of the entry (`DownstreamEnd`, ...) is one of `types`, or none of them if `exclude`."""

    types: tuple[str, ...]
    exclude: bool = False


class ExpressionFilter(msgspec.Struct, frozen=True):
    """`envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter`: entries for which the CEL expression is true."""

    expression: Node


class AndFilter(msgspec.Struct, frozen=True):
    filters: tuple[AccessLogFilterSpec, ...]


class OrFilter(msgspec.Struct, frozen=True):
    filters: tuple[AccessLogFilterSpec, ...]


AccessLogFilterSpec: TypeAlias = (
    StatusCodeFilter
    | DurationFilter
    | NotHealthCheckFilter
    | TraceableFilter
    | RuntimeFilter
    | HeaderFilter
    | ResponseFlagFilter
    | GrpcStatusFilter
    | MetadataFilter
    | LogTypeFilter
    | ExpressionFilter
    | AndFilter
    | OrFilter
)
