from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from config.expression import parse_expression
from config.model.access_log_filter import (
    AccessLogFilterSpec,
    AndFilter,
    Comparison,
    ComparisonOp,
    DurationFilter,
    ExpressionFilter,
    GrpcStatusFilter,
    HeaderFilter,
    LogTypeFilter,
    MetadataFilter,
    NotHealthCheckFilter,
    OrFilter,
    ResponseFlagFilter,
    RuntimeFilter,
    StatusCodeFilter,
    TraceableFilter,
    ValueMatcher,
)
from config.model.core import Node
from config.model.matching import HeaderMatcher, StringMatcher, StringMatchKind
from protocols.http.headers import Headers
from sidecar.stream_info import StreamInfo
from sidecar.telemetry.access_log.filters import (
    FilterCompiler,
    FilteredAccessLogger,
    Predicate,
    compile_value_matcher,
)
from tests.unit.sidecar.telemetry.access_log.streams import TraceOfTests, no_route, proxied, tcp

NODE = Node("node-id")


def compiled(spec: AccessLogFilterSpec, runtime: Mapping[str, object] | None = None) -> Predicate:
    return FilterCompiler(runtime or {}, random.Random(7), NODE).compile(spec)


def exact(text: str) -> StringMatcher:
    return StringMatcher(StringMatchKind.EXACT, text)


def expression(text: str) -> ExpressionFilter:
    return ExpressionFilter(parse_expression(text))


def status(op: ComparisonOp, value: int, key: str = "") -> StatusCodeFilter:
    return StatusCodeFilter(Comparison(op, value, key))


@pytest.mark.parametrize(
    ("spec", "http", "local", "session"),
    [
        (status(ComparisonOp.GE, 400), False, True, False),
        (status(ComparisonOp.EQ, 200), True, False, False),
        (status(ComparisonOp.NE, 200), False, True, True),
        (status(ComparisonOp.LE, 0), False, False, True),
        (DurationFilter(Comparison(ComparisonOp.GE, 12)), True, False, False),
        (DurationFilter(Comparison(ComparisonOp.LE, 0)), False, True, True),
        (NotHealthCheckFilter(), True, True, True),
        (TraceableFilter(), False, False, False),
        (ResponseFlagFilter(()), False, True, True),
        (ResponseFlagFilter(("UF", "UT")), False, False, True),
        (HeaderFilter(HeaderMatcher("x-long", exact("abcdefghij"))), True, False, False),
        (HeaderFilter(HeaderMatcher("x-long", present=True, invert=True)), False, True, True),
        (GrpcStatusFilter((12,)), False, True, False),  # a 404 stands for UNIMPLEMENTED
        (GrpcStatusFilter((2,)), True, False, True),
        (GrpcStatusFilter((2,), exclude=True), False, True, False),
        (LogTypeFilter(("DownstreamEnd",)), True, True, False),
        (LogTypeFilter(("DownstreamEnd",), exclude=True), False, False, True),
        (expression("response.code == 404 || response.flags > 1000000"), False, True, False),
        (expression("xds.node.id == 'node-id' && !has(response.code)"), False, False, True),
        (expression("'true'"), False, False, False),
        (expression("nothing"), False, False, False),
        (expression("[1].exists(x, x == 1)"), True, True, True),
        (AndFilter((status(ComparisonOp.GE, 1), ResponseFlagFilter(()))), False, True, False),
        (OrFilter((status(ComparisonOp.EQ, 200), ResponseFlagFilter(("UF",)))), True, False, True),
    ],
)
def test_verdicts(spec: AccessLogFilterSpec, http: bool, local: bool, session: bool) -> None:
    wanted = compiled(spec)
    assert [wanted(info) for info in (proxied(), no_route(), tcp())] == [http, local, session]


def test_the_runtime_counts_more_than_the_default() -> None:
    spec = status(ComparisonOp.GE, 100, "log.above")
    assert compiled(spec)(proxied())
    assert not compiled(spec, {"log.above": 500})(proxied())
    assert compiled(spec, {"log.above": "odd"})(proxied())


def test_traced_requests() -> None:
    info = proxied()
    info.trace = TraceOfTests()
    assert compiled(TraceableFilter())(info)
    info.trace = TraceOfTests(sampled=False)
    assert not compiled(TraceableFilter())(info)


def test_a_share_of_the_requests_is_chosen_by_their_ids() -> None:
    def with_id(start: int) -> StreamInfo:
        info = proxied()
        assert info.request_headers is not None
        info.request_headers.set(b"x-request-id", b"%08x-c5be-4cdb-9a51-e3dbf3b85bea" % start)
        return info

    wanted = compiled(RuntimeFilter("", 3, 100))
    assert [wanted(with_id(number)) for number in (0, 2, 3, 99, 100, 102, 103)] == [
        True,
        True,
        False,
        False,
        True,
        True,
        False,
    ]
    assert [compiled(RuntimeFilter("k", 0, 10_000), {"k": 2})(with_id(number)) for number in (1, 2)] == [
        True,
        False,
    ]


@pytest.mark.parametrize("independent", [False, True])
def test_a_share_of_what_has_no_id_is_chosen_by_chance(independent: bool) -> None:
    wanted = compiled(RuntimeFilter("", 50, 100, independent))
    info = proxied() if independent else tcp()
    assert 400 < sum(wanted(info) for _ in range(1000)) < 600


@pytest.mark.parametrize(
    ("matcher", "matching", "others"),
    [
        (ValueMatcher(string=exact("c")), ["c"], ["d", 1.0, None]),
        (ValueMatcher(number=2.0), [2.0, 2], [3.0, True, "2"]),
        (ValueMatcher(number_range=(1.0, 2.0)), [1.0, 1.9], [2.0, 0.9, "1", True]),
        (ValueMatcher(boolean=True), [True], [False, 1.0, "true"]),
        (ValueMatcher(null=True), [None], [0.0, "", False]),
        (ValueMatcher(present=True), ["", 0.0, False], [None]),
        (ValueMatcher(present=False), [None], [""]),
        (ValueMatcher(list_one_of=ValueMatcher(number=1.0)), [[0.0, 1.0]], [[], [2.0], 1.0]),
        (ValueMatcher(any_of=(ValueMatcher(number=1.0), ValueMatcher(null=True))), [1.0, None], ["x"]),
    ],
)
def test_values_of_metadata(matcher: ValueMatcher, matching: list[object], others: list[object]) -> None:
    judge = compile_value_matcher(matcher)
    assert all(map(judge, matching))
    assert not any(map(judge, others))


@pytest.mark.parametrize(
    ("metadata", "default", "invert", "expected"),
    [
        (None, True, False, True),
        (None, False, False, False),
        ({}, False, True, False),
        ({"f": {"other": 1.0}}, True, False, True),
        ({"f": {"a": {"b": "yes"}}}, False, False, True),
        ({"f": {"a": {"b": "no"}}}, True, False, False),
        ({"f": {"a": {"b": "no"}}}, True, True, True),
        ({"f": {"a": "no mapping"}}, True, False, True),
    ],
)
def test_dynamic_metadata(
    metadata: dict[str, Mapping[str, object]] | None, default: bool, invert: bool, expected: bool
) -> None:
    info = proxied()
    info.dynamic_metadata = metadata
    spec = MetadataFilter("f", ("a", "b"), ValueMatcher(string=exact("yes")), invert, default)
    assert compiled(spec)(info) is expected


def test_a_status_that_grpc_does_not_define_is_unknown() -> None:
    info = proxied()
    info.response_trailers = Headers([(b"grpc-status", b"77")])
    assert compiled(GrpcStatusFilter((2,)))(info)


def test_what_is_filtered_out_does_not_reach_the_logger() -> None:
    class Recorder:
        def __init__(self) -> None:
            self.seen: list[StreamInfo] = []
            self.flushes = 0

        def log(self, info: StreamInfo) -> None:
            self.seen.append(info)

        def flush(self) -> None:
            self.flushes += 1

    inner = Recorder()
    filtered = FilteredAccessLogger(inner, compiled(ResponseFlagFilter(())))
    first, second = proxied(), no_route()
    filtered.log(first)
    filtered.log(second)
    filtered.flush()
    assert inner.seen == [second]
    assert inner.flushes == 1
