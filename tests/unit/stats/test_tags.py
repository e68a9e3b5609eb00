from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stats.metrics import Tags
from stats.prometheus import label_text
from stats.prometheus_families import metric_name
from stats.tags import DEFAULT_RULES, TagProducer, TagRule, literal_of
from tests.unit.stats.envoy_run import producer_of
from tests.vectors import load_vectors

ENVOY = load_vectors("envoy_stats.json")
DEFAULT = TagProducer()


@pytest.mark.parametrize("run", ENVOY["runs"], ids=lambda run: run["name"])
def test_names_and_tags_equal_envoys(run: dict[str, Any]) -> None:
    producer = producer_of(run)
    series = set()
    for name, kind in run["stats"]:
        extracted, tags = producer(name)
        if kind != "text":
            suffix = "_count" if kind == "histogram" else ""
            series.add(f"{metric_name(extracted)}{suffix}{{{label_text(tags)}}}")
    page = {line for line in run["page"] if not line.startswith("#")}
    assert series == {line for line in page if "_sum{" not in line}


@pytest.mark.parametrize(
    ("name", "extracted", "tags"),
    [
        ("cluster.a.grpc.pkg_Svc.Meth.total", "cluster.grpc.total",
         [("grpc_bridge_method", "Meth"), ("grpc_bridge_service", "pkg_Svc"), ("cluster_name", "a")]),
        ("cluster.a.grpc.0", "cluster.grpc.0", [("cluster_name", "a")]),
        ("listener.[__1]_80.downstream_cx_total", "listener.downstream_cx_total", [("listener_address", "[__1]_80")]),
        ("listener.10.0.0.1_80.worker_3.downstream_cx_total", "listener.worker_downstream_cx_total",
         [("worker_id", "3"), ("listener_address", "10.0.0.1_80")]),
        ("listener.admin.downstream_cx_total", "listener.admin.downstream_cx_total", []),
        ("listener.name.ssl.sigalgs.rsa_pss_rsae_sha256", "listener.ssl.sigalgs",
         [("ssl_sigalg", "rsa_pss_rsae_sha256"), ("listener_address", "name")]),
        ("cluster.a.ssl.ciphers.X-1", "cluster.ssl.ciphers", [("cipher_suite", "X-1"), ("cluster_name", "a")]),
        ("cluster.a.ssl.versions.TLSv1.3", "cluster.ssl.versions", [("ssl_version", "TLSv1.3"), ("cluster_name", "a")]),
        ("http.p.rds.a.b/c.update_success", "http.rds.update_success",
         [("rds_route_config", "a.b/c"), ("http_conn_manager_prefix", "p")]),
        ("http.p.rbac.policy.x.allowed", "http.rbac.policy.allowed",
         [("rbac_policy_name", "x"), ("http_conn_manager_prefix", "p")]),
        ("http.p.rbac.pre.policy.x.shadow_denied", "http.rbac.policy.shadow_denied",
         [("rbac_policy_name", "x"), ("rbac_http_prefix", "pre"), ("http_conn_manager_prefix", "p")]),
        ("http.p.ext_authz.e.ok", "http.ext_authz.ok", [("ext_authz_prefix", "e"), ("http_conn_manager_prefix", "p")]),
        ("http.p.fault.c.aborts_injected", "http.fault.aborts_injected",
         [("fault_downstream_cluster", "c"), ("http_conn_manager_prefix", "p")]),
        ("http.p.user_agent.ios.x", "http.user_agent.x", [("http_user_agent", "ios"), ("http_conn_manager_prefix", "p")]),
        ("proxy_proto.me.not_found_allowed", "proxy_proto.not_found_allowed", [("proxy_protocol_prefix", "me")]),
        ("mongo.p.cmd.find.total", "mongo.cmd.total", [("mongo_cmd", "find"), ("mongo_prefix", "p")]),
        ("mongo.p.collection.c.callsite.s.query.total", "mongo.collection.callsite.query.total",
         [("mongo_callsite", "s"), ("mongo_collection", "c"), ("mongo_prefix", "p")]),
        ("server.live", "server.live", []),
        ("nodots", "nodots", []),
        ("", "", []),
        ("cluster.", "cluster.", []),
    ],
)  # fmt: skip
def test_default_tags(name: str, extracted: str, tags: list[tuple[str, str]]) -> None:
    assert DEFAULT(name) == (extracted, tuple((_full(tag), value) for tag, value in tags))


def _full(tag: str) -> str:
    """All default tags but one begin with `envoy.`."""
    return tag if tag == "cipher_suite" else "envoy." + tag


#: What istiod puts into the bootstrap.
ISTIO_TAGS = [
    ("cluster_name", r"^cluster(\.(.+);)"),
    ("http_conn_manager_prefix", r"^http\.(((?:[_.[:digit:]\w]*|[_\[\]aAbBcCdDeEfF[:digit:]\w\:]*));\.)"),
    ("thread_name", r"^server(\.(.+))\.watchdog"),
    ("tcp_prefix", r"^tcp\.((.*?)\.)\w+?$"),
    ("response_code", r"_rq(_(\d{3}))$"),
    ("response_code_class", r"_rq(_(\dxx))$"),
    (
        "http_conn_manager_listener_prefix",
        r"^listener(?=\.).*?\.http\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)",
    ),
    ("listener_address", r"^listener\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)"),
    ("cache", r"(cache\.(.+?)\.)"),
    ("component", r"(component\.(.+?)\.)"),
    ("tag", r"(tag\.(.+?);\.)"),
    ("authz_enforce_result", r"rbac(\.(allowed|denied))"),
    ("authz_dry_run_action", r"(\.istio_dry_run_(allow|deny)_)"),
    ("authz_dry_run_result", r"(\.shadow_(allowed|denied))"),
]


@pytest.mark.parametrize(
    ("name", "extracted", "tags"),
    [
        ("cluster.outbound|80||h.ns.svc;.upstream_cx_total", "cluster.upstream_cx_total",
         [("cluster_name", "outbound|80||h.ns.svc")]),
        ("cluster.xds-grpc;.upstream_rq_503", "cluster.upstream_rq",
         [("cluster_name", "xds-grpc"), ("response_code", "503")]),
        ("http.inbound_0.0.0.0_8080;.downstream_rq_2xx", "http.downstream_rq",
         [("http_conn_manager_prefix", "inbound_0.0.0.0_8080"), ("response_code_class", "2xx")]),
        ("listener.0.0.0.0_80.downstream_cx_total", "listener.downstream_cx_total", [("listener_address", "0.0.0.0_80")]),
        ("server.worker_0.watchdog_miss", "server.watchdog_miss", [("thread_name", "worker_0")]),
        ("http.inbound_0.0.0.0_80;.rbac.allowed", "http.rbac",
         [("http_conn_manager_prefix", "inbound_0.0.0.0_80"), ("authz_enforce_result", "allowed")]),
        ("http.inbound_0.0.0.0_80;.rbac.istio_dry_run_allow_.shadow_denied", "http.rbac",
         [("http_conn_manager_prefix", "inbound_0.0.0.0_80"), ("authz_dry_run_action", "allow"),
          ("authz_dry_run_result", "denied")]),
    ],
)  # fmt: skip
def test_tags_that_istiod_configures(name: str, extracted: str, tags: list[tuple[str, str]]) -> None:
    producer = TagProducer([TagRule(tag, regex) for tag, regex in ISTIO_TAGS], use_all_default_tags=False)
    found_name, found = producer(name)
    assert found_name == extracted
    assert sorted(found) == sorted(tags)


def test_the_first_matching_rule_of_a_name_wins() -> None:
    producer = TagProducer([TagRule("t", "(a)$"), TagRule("t", "(b)a$"), TagRule("u", "(b)a$")], False)
    assert producer("x.ba") == ("x.", (("t", "a"), ("u", "b")))


def test_a_configured_rule_does_not_replace_a_default_of_its_name() -> None:
    producer = TagProducer([TagRule("envoy.cluster_name", r"^listener\.(x)")])
    assert producer("cluster.c.y") == ("cluster.y", (("envoy.cluster_name", "c"),))
    assert producer("listener.x.y")[1][-1] == ("envoy.cluster_name", "x")


def test_default_rule_by_name() -> None:
    producer = TagProducer([TagRule("envoy.http_conn_manager_prefix")], use_all_default_tags=False)
    assert producer("http.p.x") == ("http.x", (("envoy.http_conn_manager_prefix", "p"),))
    assert producer("listener.a.http.p.x") == (
        "listener.a.http.x",
        (("envoy.http_conn_manager_prefix", "p"),),
    )
    assert producer("cluster.c.x") == ("cluster.c.x", ())


def test_fixed_values_are_on_every_stat() -> None:
    producer = TagProducer([TagRule("a", fixed_value="1"), TagRule("b", fixed_value="")])
    assert producer("server.live") == ("server.live", (("a", "1"), ("b", "")))
    assert producer("cluster.c.x") == ("cluster.x", (("a", "1"), ("b", ""), ("envoy.cluster_name", "c")))


def test_overlapping_cuts() -> None:
    producer = TagProducer([TagRule("a", r"x(\.b\.c)\."), TagRule("b", r"b(\.c\.d)")], False)
    assert producer("x.b.c.d") == ("x", (("a", ".b.c"), ("b", ".c.d")))


def test_regex_without_group_finds_nothing() -> None:
    assert TagProducer([TagRule("a", "x")], False)("x") == ("x", ())


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (TagRule("", "x"), "tag_name cannot be empty"),
        (TagRule("cluster_name"), "none of the default tags"),
        (TagRule("a", "("), "invalid regex"),
        (TagRule("a", "[z-a]"), "invalid regex"),
    ],
)
def test_rules_that_are_refused(rule: TagRule, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        TagProducer([rule])


@pytest.mark.parametrize(
    ("regex", "name", "value"),
    [
        ("([[:alpha:]]+)9", "1.abc9", "abc"),
        ("([^[:digit:].]+)", "1.2.x", "x"),
        (r"([[:space:][:upper:]]+)", "a. B", " B"),
        ("([[a]+)", "x[a[", "[a["),
        ("([&&~~||]+)x", "a&~|x", "&~|"),
        (r"(\[:x)", "a[:x", "[:x"),
        (r"([\]a]+)", "x]a", "]a"),
        ("([[:nope:]+)]", "x:]", ":"),
    ],
)
def test_ecmascript_bracket_expressions(regex: str, name: str, value: str) -> None:
    assert TagProducer([TagRule("t", regex)], False)(name)[1] == (("t", value),)


def test_dollar_is_the_end() -> None:
    assert TagProducer([TagRule("t", "(a)$")], False)("a\n") == ("a\n", ())


def test_a_few_tags_everybody_knows() -> None:
    names = (
        "cluster_name http_conn_manager_prefix listener_address response_code response_code_class tcp_prefix"
    )
    names += " ssl_cipher ssl_version ssl_curve ssl_sigalg worker_id rds_route_config virtual_host route"
    assert {f"envoy.{name}" for name in names.split()} <= {rule.tag for rule in DEFAULT_RULES}


@pytest.mark.parametrize(
    ("regex", "literal"),
    [
        (r"(reporter=\.=(.*?);\.;)", "reporter=.="),
        (r"^cluster(\.(.+);)", "cluster."),
        (r"_rq(_(\d{3}))$", "_rq_"),
        (r"ab?c", "a"),
        (r"ab*", "a"),
        (r"ab{0,2}", "a"),
        (r"a|b", ""),
        (r"(?:a)b", ""),
        (r"\w+", ""),
        (r".", ""),
        ("", ""),
    ],
)
def test_literal_of(regex: str, literal: str) -> None:
    assert literal_of(regex) == literal


segment = st.text(alphabet="abcxyz_019", min_size=1, max_size=5)
names = st.lists(
    st.one_of(
        st.sampled_from(["cluster", "listener", "http", "tcp", "vhost", "server", "ssl", "ciphers", "rbac", "rds", "route", "vcluster", "_rq_200", "worker_1", "sds"]),
        segment,
    ),
    max_size=7,
).map(".".join)  # fmt: skip


@given(names)
def test_prefilters_change_nothing(name: str) -> None:
    tags: list[tuple[str, str]] = []
    for rule in DEFAULT_RULES:
        match = re.search(rule.regex, name, rule.flags)
        if match is not None and match.group(2) != (rule.except_value or None):
            tags.append((rule.tag, match.group(2)))
    known = dict(reversed(tags))
    assert dict(DEFAULT(name)[1]) == known


@given(names)
def test_values_are_parts_of_the_name(name: str) -> None:
    extracted, tags = DEFAULT(name)
    assert len(extracted) <= len(name)
    rest: Tags = tags
    assert all(value in name for _, value in rest)
    assert re.sub(r"[^a-z]", "", extracted) or not re.sub(r"[^a-z]", "", name) or tags
