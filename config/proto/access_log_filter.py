"""Access log filters (envoy.config.accesslog.v3.AccessLogFilter)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from config.model import access_log_filter as model
from config.model.access_log_filter import AccessLogFilterSpec, ValueMatcher
from config.proto.core import DENOMINATORS
from config.proto.expression import translate_expression
from config.proto.fields import declare
from config.proto.matching import translate_header_matcher, translate_string_matcher
from config.proto.path import Path
from config.proto.typed_config import ExtensionTable

_LOG: Final = "envoy.config.accesslog.v3"
_MATCHER: Final = "envoy.type.matcher.v3"
_CEL_FILTER: Final = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"

declare(
    f"{_LOG}.AccessLogFilter",
    "status_code_filter duration_filter not_health_check_filter traceable_filter runtime_filter and_filter or_filter "
    "header_filter response_flag_filter grpc_status_filter metadata_filter log_type_filter extension_filter",
)
declare(f"{_LOG}.ExtensionFilter", "typed_config", no_effect={"name": ""})
declare(_CEL_FILTER, "expression cel_config")
declare(
    "envoy.config.core.v3.CelExpressionConfig",
    no_effect={
        "enable_string_conversion": "conversions are there in any case",
        "enable_string_concat": "texts are concatenated in any case",
    },
    refused={"enable_string_functions": "there are the functions of standard CEL"},
)
declare(f"{_LOG}.ComparisonFilter", "op value")
declare("envoy.config.core.v3.RuntimeUInt32", "default_value runtime_key")
declare(f"{_LOG}.StatusCodeFilter", "comparison")
declare(f"{_LOG}.DurationFilter", "comparison")
declare(f"{_LOG}.NotHealthCheckFilter")
declare(f"{_LOG}.TraceableFilter")
declare(f"{_LOG}.RuntimeFilter", "runtime_key percent_sampled use_independent_randomness")
declare(f"{_LOG}.AndFilter", "filters")
declare(f"{_LOG}.OrFilter", "filters")
declare(f"{_LOG}.HeaderFilter", "header")
declare(f"{_LOG}.ResponseFlagFilter", "flags")
declare(f"{_LOG}.GrpcStatusFilter", "statuses exclude")
declare(f"{_LOG}.MetadataFilter", "matcher match_if_key_not_found")
declare(f"{_LOG}.LogTypeFilter", "types exclude")
declare(f"{_MATCHER}.MetadataMatcher", "filter path value invert")
declare(f"{_MATCHER}.MetadataMatcher.PathSegment", "key")
declare(
    f"{_MATCHER}.ValueMatcher",
    "null_match double_match string_match bool_match present_match list_match or_match",
)
declare(f"{_MATCHER}.ValueMatcher.NullMatch")
declare(f"{_MATCHER}.DoubleMatcher", "range exact")
declare("envoy.type.v3.DoubleRange", "start end")
declare(f"{_MATCHER}.ListMatcher", "one_of")
declare(f"{_MATCHER}.OrMatcher", "value_matchers")


def translate_filter(msg: Any, at: Path) -> AccessLogFilterSpec | None:
    """`None` where none is set, or cannot be used (which is reported)."""
    kind = msg.WhichOneof("filter_specifier")
    translate = _TRANSLATORS.get(kind)
    return translate(getattr(msg, kind), at.field(kind)) if translate is not None else None


def _comparison(msg: Any) -> model.Comparison:
    comparison = msg.comparison
    return model.Comparison(
        model.ComparisonOp(comparison.op), comparison.value.default_value, comparison.value.runtime_key
    )


def _runtime(msg: Any, at: Path) -> AccessLogFilterSpec:
    percent = msg.percent_sampled
    return model.RuntimeFilter(
        msg.runtime_key,
        percent.numerator,
        DENOMINATORS.get(percent.denominator, 100),
        msg.use_independent_randomness,
    )


def _all(msg: Any, at: Path) -> tuple[AccessLogFilterSpec, ...]:
    filters = (translate_filter(each, at.item("filters", index)) for index, each in enumerate(msg.filters))
    return tuple(each for each in filters if each is not None)


def _grpc_status(msg: Any, at: Path) -> AccessLogFilterSpec:
    return model.GrpcStatusFilter(tuple(map(int, msg.statuses)), msg.exclude)


def _log_type(msg: Any, at: Path) -> AccessLogFilterSpec:
    names = msg.DESCRIPTOR.fields_by_name["types"].enum_type.values_by_number
    return model.LogTypeFilter(tuple(names[each].name for each in msg.types if each in names), msg.exclude)


def _metadata(msg: Any, at: Path) -> AccessLogFilterSpec:
    matcher, matcher_at = msg.matcher, at.field("matcher")
    return model.MetadataFilter(
        matcher.filter,
        tuple(str(segment.key) for segment in matcher.path),
        translate_value_matcher(matcher.value, matcher_at.field("value")),
        matcher.invert,
        msg.match_if_key_not_found.value if msg.HasField("match_if_key_not_found") else True,
    )


def translate_value_matcher(msg: Any, at: Path) -> ValueMatcher:
    kind = msg.WhichOneof("match_pattern")
    if kind == "double_match":
        double = msg.double_match
        if double.WhichOneof("match_pattern") == "range":
            return ValueMatcher(number_range=(double.range.start, double.range.end))
        return ValueMatcher(number=double.exact)
    if kind == "string_match":
        return ValueMatcher(string=translate_string_matcher(msg.string_match, at.field(kind)))
    if kind == "bool_match":
        return ValueMatcher(boolean=msg.bool_match)
    if kind == "present_match":
        return ValueMatcher(present=msg.present_match)
    if kind == "list_match":
        return ValueMatcher(
            list_one_of=translate_value_matcher(msg.list_match.one_of, at.field(kind).field("one_of"))
        )
    if kind == "or_match":
        inside = at.field(kind)
        return ValueMatcher(
            any_of=tuple(
                translate_value_matcher(each, inside.item("value_matchers", index))
                for index, each in enumerate(msg.or_match.value_matchers)
            )
        )
    return ValueMatcher(null=True)


def _expression(msg: Any, at: Path) -> AccessLogFilterSpec | None:
    node = translate_expression(msg.expression, at.field("expression"))
    return model.ExpressionFilter(node) if node is not None else None


#: Filters by extension.
ACCESS_LOG_FILTERS: Final = ExtensionTable[AccessLogFilterSpec](
    "an access log filter", {_CEL_FILTER: _expression}
)


def _extension(msg: Any, at: Path) -> AccessLogFilterSpec | None:
    return ACCESS_LOG_FILTERS.translate(msg.typed_config, at.field("typed_config"))


_Translate: TypeAlias = Callable[[Any, Path], AccessLogFilterSpec | None]

_TRANSLATORS: Final[Mapping[str | None, _Translate]] = {
    "status_code_filter": lambda msg, at: model.StatusCodeFilter(_comparison(msg)),
    "duration_filter": lambda msg, at: model.DurationFilter(_comparison(msg)),
    "not_health_check_filter": lambda msg, at: model.NotHealthCheckFilter(),
    "traceable_filter": lambda msg, at: model.TraceableFilter(),
    "runtime_filter": _runtime,
    "and_filter": lambda msg, at: model.AndFilter(_all(msg, at)),
    "or_filter": lambda msg, at: model.OrFilter(_all(msg, at)),
    "header_filter": lambda msg, at: model.HeaderFilter(
        translate_header_matcher(msg.header, at.field("header"))
    ),
    "response_flag_filter": lambda msg, at: model.ResponseFlagFilter(tuple(msg.flags)),
    "grpc_status_filter": _grpc_status,
    "metadata_filter": _metadata,
    "log_type_filter": _log_type,
    "extension_filter": _extension,
}
