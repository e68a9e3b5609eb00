from __future__ import annotations

import pytest

from stats.matcher import (
    NameMatch,
    NameMatchKind,
    compile_regex,
    make_bounds_for,
    make_rejects,
    matches_any,
)
from stats.metrics import DEFAULT_BUCKETS

K = NameMatchKind


@pytest.mark.parametrize(
    ("match", "yes", "no"),
    [
        (NameMatch(K.EXACT, "a.b"), ["a.b"], ["a.bc", "A.b"]),
        (NameMatch(K.EXACT, "A.b", True), ["a.b", "A.B"], ["a.bc"]),
        (NameMatch(K.PREFIX, "istio"), ["istiocustom.x", "istio"], ["x.istio", "Istio"]),
        (NameMatch(K.PREFIX, "IS", True), ["istio", "ISTIO"], ["x.is"]),
        (NameMatch(K.SUFFIX, "rbac.denied"), ["http.x.rbac.denied"], ["rbac.denied.x"]),
        (NameMatch(K.SUFFIX, "X", True), ["ax", "aX"], ["xa"]),
        (NameMatch(K.CONTAINS, "_cx_"), ["a_cx_b"], ["a_rq_b"]),
        (NameMatch(K.CONTAINS, "_CX_", True), ["a_cx_b"], ["a_rq_b"]),
        (NameMatch(K.REGEX, r"vhost\..*\.route\..*"), ["vhost.a.route.b"], ["x.vhost.a.route.b", "vhost.a"]),
        (NameMatch(K.REGEX, "a", True), ["a"], ["A"]),
    ],
)
def test_one_matcher(match: NameMatch, yes: list[str], no: list[str]) -> None:
    matches = matches_any([match])
    assert [name for name in yes + no if matches(name)] == yes


def test_any_of_many() -> None:
    matches = matches_any(
        [
            NameMatch(K.PREFIX, "a"),
            NameMatch(K.PREFIX, "b"),
            NameMatch(K.SUFFIX, "z"),
            NameMatch(K.EXACT, "q"),
            NameMatch(K.CONTAINS, "mm"),
            NameMatch(K.REGEX, "r[0-9]"),
            NameMatch(K.EXACT, "FOLD", True),
        ]
    )
    names = ["a1", "b1", "1z", "q", "1mm1", "r1", "fold", "r1x", "qq", "m"]
    assert [name for name in names if matches(name)] == names[:7]


def test_no_matcher_matches_nothing() -> None:
    assert not matches_any([])("a")


def test_inclusion_list() -> None:
    rejects = make_rejects(inclusion=[NameMatch(K.PREFIX, "server"), NameMatch(K.PREFIX, "istio")])
    assert not rejects("server.live")
    assert not rejects("istiocustom.istio_requests_total.reporter.source")
    assert rejects("cluster.a.upstream_cx_total")


def test_exclusion_list() -> None:
    rejects = make_rejects(exclusion=[NameMatch(K.PREFIX, "server")])
    assert rejects("server.live")
    assert not rejects("cluster.a.upstream_cx_total")


def test_empty_inclusion_list_rejects_all() -> None:
    assert make_rejects(inclusion=[])("a")
    assert not make_rejects(exclusion=[])("a")


def test_reject_all_and_none() -> None:
    assert make_rejects(reject_all=True)("a")
    assert not make_rejects()("a")


def test_bad_regex() -> None:
    with pytest.raises(ValueError, match=r"Invalid re2 regex: missing \): \("):
        compile_regex("(")
    with pytest.raises(ValueError, match="Invalid re2 regex"):
        make_rejects(inclusion=[NameMatch(K.REGEX, "(")])


def test_first_matching_bounds_win() -> None:
    bounds_for = make_bounds_for(
        [
            (NameMatch(K.PREFIX, "istiocustom.istio_request_duration_milliseconds"), (5, 10, 25)),
            (NameMatch(K.PREFIX, "istio"), (1, 10, 100)),
            (NameMatch(K.PREFIX, "istiocustom"), (1,)),
        ]
    )
    assert bounds_for("istiocustom.istio_request_duration_milliseconds.reporter.source") == (5, 10, 25)
    assert bounds_for("istiocustom.istio_request_bytes") == (1, 10, 100)
    assert bounds_for("cluster.a.upstream_rq_time") == DEFAULT_BUCKETS
    assert make_bounds_for([])("a") == DEFAULT_BUCKETS


@pytest.mark.parametrize("bounds", [(), (0, 1), (-1,), (1, 1), (2, 1)])
def test_bounds_that_are_refused(bounds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="ascending and greater than 0"):
        make_bounds_for([(NameMatch(K.PREFIX, "a"), bounds)])
