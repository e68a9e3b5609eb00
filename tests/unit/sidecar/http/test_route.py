from __future__ import annotations

import pytest

from config.model.core import HeaderMutations, Metadata, RoutingPriority
from config.model.route import (
    DirectResponseAction,
    PathMatchKind,
    RegexRewrite,
    RetryPolicy,
    RouteAction,
    RouteSpec,
    WeightedCluster,
)
from protocols.http.headers import Headers
from sidecar.http.route import DirectResponseRoute, ForwardRoute
from sidecar.http.routing import RouteTable

from .route_specs import (
    append,
    find,
    host,
    if_absent,
    if_exists,
    overwrite,
    request,
    route,
    stream,
    table,
)

Kind = PathMatchKind


def forward(routes: RouteTable, headers: Headers) -> ForwardRoute:
    found = find(routes, headers)
    assert isinstance(found, ForwardRoute)
    return found


def finalized(routes: RouteTable, headers: Headers, **flags: bool) -> list[tuple[str, str]]:
    """The fields after the route's edits, without those that were there before routing."""
    forward(routes, headers).finalize_request(headers, stream(headers), **flags)
    return [(a.decode(), b.decode()) for a, b in headers.items() if a != b"x-forwarded-proto"]


LEVELS = {
    "global": HeaderMutations(
        request_add=(
            append("x-lvl", "global"),
            overwrite("x-ov", "global"),
            if_absent("x-ifabs", "global"),
            if_exists("x-ife", "global"),
        ),
        request_remove=("x-rm", "x-rmadd"),
        response_add=(append("x-rlvl", "global"), overwrite("x-rov", "global")),
        response_remove=("x-up",),
    ),
    "host": HeaderMutations(
        request_add=(
            append("x-lvl", "vhost"),
            overwrite("x-ov", "vhost"),
            if_absent("x-ifabs", "vhost"),
            append("x-rmadd", "back"),
        ),
        request_remove=("x-rm2",),
        response_add=(append("x-rlvl", "vhost"), overwrite("x-rov", "vhost")),
    ),
    "route": HeaderMutations(
        request_add=(
            append("x-lvl", "route"),
            overwrite("x-ov", "route"),
            if_absent("x-ifabs", "route"),
        ),
        request_remove=("x-lvl",),
        response_add=(append("x-rlvl", "route"), overwrite("x-rov", "route")),
    ),
    "weighted": HeaderMutations(
        request_add=(append("x-lvl", "weighted"), overwrite("x-ov", "weighted")),
        request_remove=("x-rm",),
        response_add=(append("x-rlvl", "weighted"), overwrite("x-rov", "weighted")),
    ),
}


def levels(*, most_specific_wins: bool) -> RouteTable:
    weighted = RouteAction(weighted_clusters=(WeightedCluster("back", 1, LEVELS["weighted"]),))
    plain = HeaderMutations(request_add=LEVELS["route"].request_add[:2])
    return table(
        host(
            route("/lvl", mutations=LEVELS["route"]),
            route("/w", weighted, mutations=plain),
            mutations=LEVELS["host"],
        ),
        mutations=LEVELS["global"],
        most_specific_header_mutations_wins=most_specific_wins,
    )


CLIENT = tuple((name, b"client") for name in (b"x-rm", b"x-rm2", b"x-rmadd", b"x-lvl", b"x-ov"))


@pytest.mark.parametrize(
    ("path", "wins", "expected"),
    [
        (
            b"/lvl",
            False,
            {"x-lvl": ["route", "vhost", "global"], "x-ov": ["global"], "x-ifabs": ["route"]},
        ),
        (
            b"/lvl",
            True,
            {"x-lvl": ["route"], "x-ov": ["route"], "x-ifabs": ["global"], "x-rmadd": ["back"]},
        ),
        (
            b"/w",
            False,
            {
                "x-lvl": ["client", "weighted", "route", "vhost", "global"],
                "x-ov": ["global"],
                "x-ifabs": ["vhost"],
            },
        ),
        (
            b"/w",
            True,
            {
                "x-lvl": ["client", "weighted", "global", "vhost", "route"],
                "x-ov": ["route"],
                "x-ifabs": ["global"],
                "x-rmadd": ["back"],
            },
        ),
    ],
)
def test_levels_of_request_edits_apply_in_envoys_order(
    path: bytes, wins: bool, expected: dict[str, list[str]]
) -> None:
    found: dict[str, list[str]] = {}
    for name, value in finalized(levels(most_specific_wins=wins), request(path, b"a.example", *CLIENT)):
        found.setdefault(name, []).append(value)
    assert found == expected


@pytest.mark.parametrize(
    ("wins", "levels_of_header", "overwritten"),
    [
        (False, ["up", "route", "vhost", "global"], "global"),
        (True, ["up", "global", "vhost", "route"], "route"),
    ],
)
def test_levels_of_response_edits(wins: bool, levels_of_header: list[str], overwritten: str) -> None:
    found = forward(levels(most_specific_wins=wins), request(b"/lvl"))
    response = Headers.response(200, [(b"x-rlvl", b"up"), (b"x-rov", b"up"), (b"x-up", b"1")])
    found.finalize_response(response, stream())
    assert [value.decode() for value in response.get_all(b"x-rlvl")] == levels_of_header
    assert response.get(b"x-rov") == overwritten.encode()
    assert b"x-up" not in response


def test_values_are_formats_and_see_the_headers_as_they_came() -> None:
    mutations = HeaderMutations(
        request_add=(
            overwrite("x-in", "new"),
            append(
                "x-fmt", "%REQ(x-in)%|%REQ(missing)%|%REQ(:PATH)%|%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%|%%"
            ),
            append("x-missing", "%REQ(missing)%"),
            append("x-kept", "%REQ(missing)%", keep_empty=True),
            append("x-empty", ""),
            append("x-mixed", "a%REQ(missing)%b"),
            append("x-flags", "%RESPONSE_FLAGS%"),
        )
    )
    headers = request(b"/p?q=1", b"a.example", (b"x-in", b"IN"))
    fields = dict(finalized(table(host(route(mutations=mutations))), headers))
    assert fields == {
        "x-in": "new",
        "x-fmt": "IN||/p?q=1|10.0.0.1|%",
        "x-kept": "",
        "x-mixed": "ab",
        "x-flags": "-",
    }


def test_control_characters_of_a_value_cannot_start_a_new_line() -> None:
    mutations = HeaderMutations(request_add=(append("x-copy", "%REQ(x-in)%"),))
    headers = request(b"/", b"a.example", (b"x-in", b"a\r\nx-evil: 1"))
    fields = dict(finalized(table(host(route(mutations=mutations))), headers))
    assert fields["x-copy"] == r"a\x0d\x0ax-evil: 1"


def test_add_if_absent_and_overwrite_if_exists() -> None:
    mutations = HeaderMutations(request_add=(if_absent("x-a", "new"), if_exists("x-e", "new")))
    routes = table(host(route(mutations=mutations)))
    assert finalized(routes, request()) == [("x-a", "new")]
    there = request(b"/", b"a", (b"x-a", b"old"), (b"x-e", b"1"), (b"x-e", b"2"))
    assert finalized(routes, there) == [("x-a", "old"), ("x-e", "new")]


PATH_REWRITES = [
    (route("/pre/", RouteAction("c", prefix_rewrite="/")), b"/pre/a?b=/pre/", b"/a?b=/pre/"),
    (route("/pre2", RouteAction("c", prefix_rewrite="/new")), b"/pre2x?y=1", b"/newx?y=1"),
    (route("/exact", RouteAction("c", prefix_rewrite="/ex2"), Kind.PATH), b"/exact?x=1", b"/ex2?x=1"),
    (
        route("/rep/.*", RouteAction("c", prefix_rewrite="/whole"), Kind.SAFE_REGEX),
        b"/rep/x?q=1",
        b"/whole?q=1",
    ),
    (
        route("/sep", RouteAction("c", prefix_rewrite="/S"), Kind.PATH_SEPARATED_PREFIX),
        b"/sep/a?b",
        b"/S/a?b",
    ),
    (
        route(
            "/re/.*",
            RouteAction("c", regex_rewrite=RegexRewrite(r"/re/(\w+)/(\w+)", r"/\2/\1/\0")),
            Kind.SAFE_REGEX,
        ),
        b"/re/aa/bb/re/cc/dd?c=/re/x/y",
        b"/bb/aa//re/aa/bb/dd/cc//re/cc/dd?c=/re/x/y",
    ),
    (
        route("/", RouteAction("c", regex_rewrite=RegexRewrite(r"/a(b)?/(.)", r"\\x\2\1\0\\1"))),
        b"/ab/c",
        b"\\xcb/ab/c\\1",
    ),
    (route("/", RouteAction("c", regex_rewrite=RegexRewrite("/nothing", "x"))), b"/p?q", b"/p?q"),
]


@pytest.mark.parametrize(("spec", "path", "expected"), PATH_REWRITES)
def test_path_rewrite_as_envoy_does(spec: RouteSpec, path: bytes, expected: bytes) -> None:
    headers = request(path)
    fields = dict(finalized(table(host(spec)), headers))
    assert headers.path == expected
    assert fields["x-envoy-original-path"] == path.decode()


def test_path_without_rewrite_stays() -> None:
    headers = request(b"/p?q")
    assert finalized(table(host()), headers) == []
    assert headers.path == b"/p?q"


HOST_REWRITES = [
    (RouteAction("c", host_rewrite_literal="h.lit"), (), b"h.lit", {"x-envoy-original-host": "a.example"}),
    (
        RouteAction("c", host_rewrite_literal="h.lit", append_x_forwarded_host=True),
        (),
        b"h.lit",
        {"x-envoy-original-host": "a.example", "x-forwarded-host": "a.example"},
    ),
    (
        RouteAction("c", host_rewrite_literal="h.lit", append_x_forwarded_host=True),
        ((b"x-forwarded-host", b"z"),),
        b"h.lit",
        {"x-envoy-original-host": "a.example", "x-forwarded-host": "z,a.example"},
    ),
    (
        RouteAction("c", host_rewrite_literal="h.lit", append_x_forwarded_host=True),
        ((b"x-forwarded-host", b"z,a.example"),),
        b"h.lit",
        {"x-envoy-original-host": "a.example", "x-forwarded-host": "z,a.example"},
    ),
    (
        RouteAction("c", host_rewrite_header="X-Host"),
        ((b"x-host", b"hh.example"),),
        b"hh.example",
        {"x-host": "hh.example", "x-envoy-original-host": "a.example"},
    ),
    (RouteAction("c", host_rewrite_header="X-Host"), (), b"a.example", {}),
    (RouteAction("c", host_rewrite_header="X-Host"), ((b"x-host", b""),), b"a.example", {"x-host": ""}),
    (RouteAction("c", auto_host_rewrite=True), (), b"a.example", {}),
    (
        RouteAction(
            weighted_clusters=(WeightedCluster("c", 1, host_rewrite_literal="weighted.host"),),
            append_x_forwarded_host=True,
        ),
        (),
        b"weighted.host",
        {},
    ),
    (
        RouteAction(
            weighted_clusters=(WeightedCluster("c", 1, host_rewrite_literal="weighted.host"),),
            host_rewrite_literal="action.host",
            append_x_forwarded_host=True,
        ),
        (),
        b"action.host",
        {"x-envoy-original-host": "weighted.host", "x-forwarded-host": "weighted.host"},
    ),
]


@pytest.mark.parametrize(("action", "fields", "authority", "expected"), HOST_REWRITES)
def test_host_rewrite_as_envoy_does(
    action: RouteAction,
    fields: tuple[tuple[bytes, bytes], ...],
    authority: bytes,
    expected: dict[str, str],
) -> None:
    headers = request(b"/", b"a.example", *fields)
    assert dict(finalized(table(host(route("/", action))), headers)) == expected
    assert headers.authority == authority


def test_originals_are_not_told_when_envoy_headers_are_suppressed() -> None:
    action = RouteAction("c", host_rewrite_literal="h.lit", prefix_rewrite="/new")
    headers = request()
    assert finalized(table(host(route("/", action))), headers, insert_original_path=False) == []
    assert (headers.authority, headers.path) == (b"h.lit", b"/new")


def test_auto_host_rewrite_takes_the_name_of_the_upstream_host() -> None:
    headers = request()
    found = forward(table(host(route("/", RouteAction("c", auto_host_rewrite=True)))), headers)
    found.set_upstream_host(headers, "")
    assert (headers.authority, headers.get(b"x-envoy-original-host")) == (b"a.example", None)
    found.set_upstream_host(headers, "up.host")
    assert (headers.authority, headers.get(b"x-envoy-original-host")) == (b"up.host", b"a.example")
    other = forward(table(host()), headers)
    other.set_upstream_host(headers, "other.host")
    assert headers.authority == b"up.host"


def test_facts_of_the_action_are_taken_over() -> None:
    own, inherited = RetryPolicy(("5xx",), 3), RetryPolicy(("reset",), 1)
    match, weighted_match = Metadata({"envoy.lb": {"v": "1"}}), Metadata({"envoy.lb": {"v": "2"}})
    action = RouteAction(
        "c",
        cluster_not_found_status=404,
        timeout_s=None,
        idle_timeout_s=0.0,
        max_stream_duration_s=7.0,
        priority=RoutingPriority.HIGH,
        retry_policy=own,
        upgrade_configs={"websocket": False},
        metadata_match=match,
    )
    weighted = RouteAction(weighted_clusters=(WeightedCluster("c", 1, metadata_match=weighted_match),))
    metadata = Metadata({"istio": {"config": "x"}})
    routes = table(
        host(
            route("/a", action, name="named", metadata=metadata, stat_prefix="st"),
            route("/w", weighted),
            retry_policy=inherited,
            include_request_attempt_count=True,
            name="host",
        )
    )
    found = forward(routes, request(b"/a"))
    assert (found.name, found.virtual_host, found.metadata, found.stat_prefix) == (
        "named",
        "host",
        metadata,
        "st",
    )
    assert (found.cluster_not_found_status, found.timeouts.global_ms, found.idle_timeout_s) == (404, 0, 0.0)
    assert (found.stream_duration_s(Headers()), found.priority) == (7.0, RoutingPriority.HIGH)
    assert (found.retry_policy, found.upgrades, found.metadata_match) == (own, {"websocket": False}, match)
    assert (found.include_request_attempt_count, found.include_attempt_count_in_response) == (True, False)
    other = forward(routes, request(b"/w"))
    assert (other.retry_policy, other.metadata_match, other.timeouts.global_ms) == (
        inherited,
        weighted_match,
        15000,
    )


@pytest.mark.parametrize(
    ("status", "location"),
    [
        (200, None),
        (201, b"http://a.example/p?q=1"),
        (301, b"http://a.example/p?q=1"),
        (302, b"http://a.example/p?q=1"),
        (404, None),
        (503, None),
    ],
)
def test_direct_response_names_its_url_with_201_and_3xx(status: int, location: bytes | None) -> None:
    headers = request(b"/p?q=1")
    found = find(table(host(route("/", DirectResponseAction(status)))), headers)
    assert isinstance(found, DirectResponseRoute)
    assert (found.body, found.location(headers)) == (b"", location)
