from __future__ import annotations

from collections import Counter

import pytest

from config.model.core import DataSource, Percent
from config.model.matching import HeaderMatcher, QueryParameterMatcher, StringMatcher, StringMatchKind
from config.model.rbac import RbacSpec
from config.model.route import (
    DirectResponseAction,
    FilterOverride,
    NonForwardingAction,
    PathMatchKind,
    RouteAction,
    RouteConfiguration,
    TlsRequirement,
    WeightedCluster,
)
from sidecar.http.route import DirectResponseRoute, ForwardRoute, TlsRedirectRoute
from sidecar.http.routing import RouteTable, port_start, without_port

from .route_specs import find, host, name_of, request, route, table

Kind = PathMatchKind

HOSTS = table(
    host(route(name="default")),
    host(route(name="suffix"), domains=("*.suf.example",), name="w1"),
    host(route(name="longer suffix"), domains=("*.b.suf.example",), name="w2"),
    host(route(name="dashed suffix"), domains=("*-x.suf.example",), name="w3"),
    host(route(name="prefix"), domains=("pre.*",), name="p1"),
    host(route(name="longer prefix"), domains=("pre.fix.*",), name="p2"),
    host(route(name="port 81"), domains=("port.example:81",), name="p3"),
    host(route(name="no port"), domains=("port.example", "other.example"), name="p4"),
    host(route(name="v6"), domains=("[::1]",), name="p5"),
)


@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        (b"A.SUF.example", "suffix"),
        (b".suf.example", "default"),
        (b"suf.example", "default"),
        (b"a.b.suf.example", "longer suffix"),
        (b"q-x.suf.example", "dashed suffix"),
        (b"a.suf.example:80", "default"),
        (b"pre.", "default"),
        (b"pre.q", "prefix"),
        (b"pre.fix.q", "longer prefix"),
        (b"pre.fix", "prefix"),
        (b"port.example", "no port"),
        (b"OTHER.example", "no port"),
        (b"port.example:81", "port 81"),
        (b"port.example:82", "default"),
        (b"[::1]", "v6"),
        (b"[::1]:80", "default"),
        (b"", "default"),
        (b"port.example.", "default"),
    ],
)
def test_virtual_host_as_envoy_finds_it(authority: bytes, expected: str) -> None:
    assert name_of(find(HOSTS, request(b"/", authority))) == expected


def test_exact_beats_suffix_beats_prefix() -> None:
    routes = table(
        host(route(name="prefix"), domains=("a.*",)),
        host(route(name="suffix"), domains=("*.example",)),
        host(route(name="exact"), domains=("a.example",)),
    )
    assert name_of(find(routes, request(b"/", b"a.example"))) == "exact"
    assert name_of(find(routes, request(b"/", b"a.b.example"))) == "suffix"
    assert name_of(find(routes, request(b"/", b"a.com"))) == "prefix"
    assert find(routes, request(b"/", b"b.com")) is None


def test_port_may_be_ignored() -> None:
    routes = table(
        host(route(name="plain"), domains=("port.example", "[::1]")), ignore_port_in_host_matching=True
    )
    for authority in (b"port.example", b"port.example:81", b"[::1]:80", b"[::1]"):
        assert name_of(find(routes, request(b"/", authority))) == "plain"


@pytest.mark.parametrize(
    ("authority", "start"),
    [(b"a:80", 1), (b"a", -1), (b"[::1]", -1), (b"[::1]:80", 5), (b"", -1), (b"a:", 1), (b"[::1", 2)],
)
def test_port_start(authority: bytes, start: int) -> None:
    assert port_start(authority) == start
    assert without_port(authority) == (authority[:start] if start >= 0 else authority)


PATHS = table(
    host(
        route("/exact", kind=Kind.PATH),
        route("/ex", kind=Kind.PATH, match={"case_sensitive": False}),
        route("/sep", kind=Kind.PATH_SEPARATED_PREFIX, match={"case_sensitive": False}),
        route("/r[a-c]+", kind=Kind.SAFE_REGEX),
        route("/CI", match={"case_sensitive": False}),
        route("/pre/"),
        route("", kind=Kind.CONNECT, name="connect"),
    )
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/exact", "/exact"),
        (b"/exact?a=b", "/exact"),
        (b"/exact#f", "/exact"),
        (b"/exact/", None),
        (b"/EXACT", None),
        (b"/EX", "/ex"),
        (b"/ex/", None),
        (b"/ex?q", "/ex"),
        (b"/SEP", "/sep"),
        (b"/sep/", "/sep"),
        (b"/sepx", None),
        (b"/seP/x", "/sep"),
        (b"/sep?a", "/sep"),
        (b"/ra", "/r[a-c]+"),
        (b"/rabc", "/r[a-c]+"),
        (b"/rabcd", None),
        (b"/ra?d", "/r[a-c]+"),
        (b"/cIx", "/CI"),
        (b"/pre/a", "/pre/"),
        (b"/pre", None),
        (b"/x?/pre/", None),
    ],
)
def test_path_kinds(path: bytes, expected: str | None) -> None:
    assert name_of(find(PATHS, request(path))) == expected


def test_connect_matches_only_its_own_kind() -> None:
    connect = request(b"", b"a.example:443", method=b"CONNECT")
    assert name_of(find(PATHS, connect)) == "connect"
    assert find(table(host(route("/"))), connect) is None


def test_conditions_are_all_needed() -> None:
    header = HeaderMatcher("x-h", StringMatcher(StringMatchKind.EXACT, "v"))
    query = QueryParameterMatcher("q", StringMatcher(StringMatchKind.EXACT, "1"))
    routes = table(
        host(
            route(name="both", match={"headers": (header,), "query_parameters": (query,)}),
            route(name="header", match={"headers": (header,)}),
            route(name="any"),
        )
    )
    assert name_of(find(routes, request(b"/?q=1", b"a", (b"x-h", b"v")))) == "both"
    assert name_of(find(routes, request(b"/?q=2", b"a", (b"x-h", b"v")))) == "header"
    assert name_of(find(routes, request(b"/?q=1", b"a"))) == "any"


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (b"application/grpc", "grpc"),
        (b"application/grpc+proto", "grpc"),
        (b"application/grpc;x", "other"),
        (b"application/grpc-web", "other"),
        (b"Application/GRPC", "other"),
        (b"", "other"),
    ],
)
def test_grpc(content_type: bytes, expected: str) -> None:
    routes = table(host(route(name="grpc", match={"grpc": True}), route(name="other")))
    assert name_of(find(routes, request(b"/", b"a", (b"content-type", content_type)))) == expected
    assert name_of(find(routes, request())) == "other"


def test_runtime_fraction() -> None:
    routes = table(host(route(name="some", match={"runtime_fraction": Percent(0.25)}), route(name="rest")))
    found = Counter(name_of(find(routes, request(), random)) for random in range(0, 1_000_000, 1000))
    assert found == {"some": 250, "rest": 750}


def test_weighted_clusters_share_by_weight() -> None:
    action = RouteAction(
        weighted_clusters=(WeightedCluster("a", 1), WeightedCluster("none", 0), WeightedCluster("b", 3))
    )
    routes = table(host(route("/", action)))
    names: Counter[str] = Counter()
    for random in range(400):
        found = find(routes, request(), random)
        assert isinstance(found, ForwardRoute)
        names[found.cluster_name(request())] += 1
    assert names == {"a": 100, "b": 300}


def test_cluster_header() -> None:
    found = find(table(host(route("/", RouteAction(cluster_header="X-Cluster")))), request())
    assert isinstance(found, ForwardRoute)
    assert found.cluster_name(request(b"/", b"a", (b"x-cluster", b"c1"))) == "c1"
    assert found.cluster_name(request()) == ""


def test_non_forwarding_route_names_no_cluster() -> None:
    found = find(table(host(route("/", NonForwardingAction()))), request())
    assert isinstance(found, ForwardRoute)
    assert found.cluster_name(request()) == ""


def test_direct_response_body_is_read_once() -> None:
    read: list[DataSource] = []

    def reader(source: DataSource) -> bytes:
        read.append(source)
        return b"from file"

    source = DataSource(filename="/etc/body")
    spec = RouteConfiguration("t", (host(route("/", DirectResponseAction(404, source))),))
    found = find(RouteTable(spec, reader), request())
    assert isinstance(found, DirectResponseRoute)
    assert (found.status, found.body, read) == (404, b"from file", [source])


def test_the_most_specific_override_of_a_filter_counts() -> None:
    specs = {name: RbacSpec(rules_stat_prefix=name) for name in ("table", "host", "route", "cluster")}
    levels = {name: FilterOverride(spec=spec) for name, spec in specs.items()}
    forward = RouteAction(
        weighted_clusters=(
            WeightedCluster("one", 1, filter_overrides={"d": levels["cluster"]}),
            WeightedCluster("two", 1),
        )
    )
    spec = RouteConfiguration(
        "t",
        (
            host(
                route("/weighted", forward, filter_overrides=dict.fromkeys("cd", levels["route"])),
                route("/plain"),
                filter_overrides=dict.fromkeys("bcd", levels["host"]),
            ),
        ),
        filter_overrides={**dict.fromkeys("abcd", levels["table"]), "e": FilterOverride(disabled=True)},
    )
    compiled: list[str] = []

    def compile_override(each: RbacSpec) -> object:
        compiled.append(each.rules_stat_prefix)
        return each

    routes = RouteTable(spec, compile_override=compile_override)

    def names(path: bytes, random: int = 0) -> str:
        found = find(routes, request(path), random)
        assert found is not None
        assert found.overrides["e"].disabled
        configs = [found.overrides[name].config for name in "abcd"]
        return " ".join(each.rules_stat_prefix for each in configs if isinstance(each, RbacSpec))

    assert names(b"/plain") == "table host host host"
    assert names(b"/weighted") == "table host route cluster"
    assert names(b"/weighted", 1) == "table host route route"
    assert sorted(compiled) == ["cluster", "host", "route", "table"]  # each once


def test_routes_without_overrides_have_none() -> None:
    found = find(table(host(route("/"))), request())
    assert found is not None
    assert found.overrides == {}


@pytest.mark.parametrize(
    ("requirement", "fields", "redirected"),
    [
        (TlsRequirement.ALL, (), True),
        (TlsRequirement.ALL, ((b"x-envoy-internal", b"true"),), True),
        (TlsRequirement.ALL, ((b"x-forwarded-proto", b"https"),), False),
        (TlsRequirement.EXTERNAL_ONLY, (), True),
        (TlsRequirement.EXTERNAL_ONLY, ((b"x-envoy-internal", b"true"),), False),
        (TlsRequirement.NONE, (), False),
    ],
)
def test_virtual_host_that_requires_tls(
    requirement: TlsRequirement, fields: tuple[tuple[bytes, bytes], ...], redirected: bool
) -> None:
    headers = request(b"/a?b", b"TLS.example:80", *fields)
    found = find(table(host(require_tls=requirement)), headers)
    if redirected:
        assert isinstance(found, TlsRedirectRoute)
        assert (found.status, found.location(headers)) == (301, b"https://TLS.example:80/a?b")
    else:
        assert isinstance(found, ForwardRoute)


def test_explain_says_what_match_does() -> None:
    header = HeaderMatcher("x-h", present=True)
    routes = table(
        host(
            route("/a", name="first"),
            route("/", name="second", match={"headers": (header,)}),
            route("", kind=Kind.CONNECT, name="third"),
            route("/b", name="fourth"),
            domains=("a.example",),
            name="host",
        )
    )
    assert routes.explain(request(b"/b")) == [
        "virtual host 'host' for 'a.example'",
        "route 0 'first': path does not match",
        "route 1 'second': header x-h does not match",
        "route 2 'third': is for CONNECT only",
        "route 3 'fourth': matches",
    ]
    assert routes.explain(request(b"/c"))[-1] == "no route matches"
    assert routes.explain(request(b"/", b"b.example")) == ["no virtual host for 'b.example'"]
    guarded = table(host(require_tls=TlsRequirement.ALL))
    assert guarded.explain(request())[-1] == "TLS is required: redirect to https"


def test_many_virtual_hosts_cost_no_more_than_few() -> None:
    hosts = [
        host(route(name=f"h{index}"), domains=(f"svc{index}.ns", f"*.svc{index:04}.example"))
        for index in range(2000)
    ]
    routes = table(*hosts)
    assert name_of(find(routes, request(b"/", b"svc1999.ns"))) == "h1999"
    assert name_of(find(routes, request(b"/", b"x.svc1999.example"))) == "h1999"
    # one look-up for each length of wildcard, whatever the number of hosts
    assert len(routes._suffixes) == 1
