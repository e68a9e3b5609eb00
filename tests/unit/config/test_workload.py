"""The workload file: what it accepts, and what it says about mistakes."""

from __future__ import annotations

import pytest

from config.bootstrap import Source, parse_bootstrap
from config.errors import ConfigErrors
from config.model.bootstrap import Bootstrap
from config.model.cluster import UpstreamHttpProtocol
from config.model.http import CodecType, HttpConnectionManagerSpec
from config.model.route import RouteAction
from config.model.workload_discovery import WorkloadDiscoverySpec
from config.workload import Endpoint, is_workload_file, parse_workload
from config.workload_bootstrap import expand

FULL = """\
workload:
  name: catalog-v1
  namespace: shop
  cluster: host
  trust_domain: example.org
  labels: {app: catalog, version: v1}
identity: {certificate: c.pem, private_key: k.pem, ca: ca.pem}
inbound:
  - listen: 0.0.0.0:15006
    application: 127.0.0.1:8080
    protocol: http
    service: catalog.shop.svc.cluster.local
    mtls: permissive
outbound:
  - service: movies.shop.svc.cluster.local
    listen: 9080
    endpoints: ["10.0.0.1:15006", "[2001:db8::1]:15006"]
    identities: ["spiffe://example.org/ns/shop/sa/movies"]
  - service: ratings.shop.svc.cluster.local
    listen: 127.0.0.1:9081
    protocol: tcp
    endpoints: [10.0.0.2:15007]
    mtls: false
admin: 127.0.0.1:15000
log_level: debug
access_log: /dev/stdout
"""


def problems_of(text: str) -> list[str]:
    with pytest.raises(ConfigErrors) as raised:
        parse_workload(Source("w.yaml", text))
    return str(raised.value).splitlines()


def test_everything() -> None:
    workload = parse_workload(Source("w.yaml", FULL))
    assert (workload.name, workload.namespace, workload.cluster) == ("catalog-v1", "shop", "host")
    assert workload.canonical_name == "catalog"
    assert workload.inbound[0].mtls == "permissive"
    assert workload.outbound[0].listen == Endpoint("127.0.0.1", 9080)
    assert workload.outbound[0].endpoints[1] == Endpoint("2001:db8::1", 15006)
    assert str(workload.outbound[0].endpoints[1]) == "[2001:db8::1]:15006"
    assert workload.outbound[1].mtls is False
    assert workload.admin == Endpoint("127.0.0.1", 15000)


def test_the_expansion_is_a_valid_bootstrap_without_warnings() -> None:
    import yaml

    text = yaml.safe_dump(expand(parse_workload(Source("w.yaml", FULL)), "/certs"), sort_keys=False)
    parsed = parse_bootstrap([Source("expanded.yaml", text)])
    assert [str(each) for each in parsed.warnings] == []
    bootstrap = parsed.bootstrap
    assert bootstrap.node.id == "sidecar~127.0.0.1~catalog-v1.shop~shop.svc.cluster.local"
    assert [each.name for each in bootstrap.listeners] == [
        "inbound_0.0.0.0:15006",
        "outbound_127.0.0.1:9080",
        "outbound_127.0.0.1:9081",
    ]
    inbound = bootstrap.listeners[0]
    assert [chain.tls is not None for chain in inbound.filter_chains] == [True, False]
    tls = inbound.filter_chains[0].tls
    assert tls is not None and tls.require_client_certificate
    assert tls.common.certificates[0].certificate_chain.filename == "/certs/c.pem"
    assert {each.name for each in bootstrap.clusters} == {
        "inbound|8080||",
        "outbound|9080||movies.shop.svc.cluster.local",
        "outbound|9081||ratings.shop.svc.cluster.local",
    }


def test_shared_applications_names_and_addresses_keep_clusters_apart() -> None:
    text = """
workload: {name: a}
inbound:
  - {listen: 127.0.0.1:1, application: 127.0.0.1:8080, service: one.default}
  - {listen: 127.0.0.1:2, application: 127.0.0.1:8080, service: two.default}
outbound:
  - {service: s.default, listen: 127.0.0.1:9, endpoints: ["example.com:80"]}
  - {service: s.default, listen: 127.0.0.2:9, endpoints: [10.0.0.1:80]}
"""
    resources = expand(parse_workload(Source("w.yaml", text)))["static_resources"]
    assert isinstance(resources, dict)
    assert [(each["name"], each["type"]) for each in resources["clusters"]] == [
        ("inbound|8080||one.default", "STATIC"),
        ("inbound|8080||two.default", "STATIC"),
        ("outbound|9|127.0.0.1|s.default", "STRICT_DNS"),
        ("outbound|9|127.0.0.2|s.default", "STATIC"),
    ]


def test_strict_is_the_default_with_an_identity_and_plaintext_without() -> None:
    def chains(identity: str) -> list[str]:
        text = f"workload: {{name: a}}\n{identity}inbound: [{{listen: 1, application: 2}}]\n"
        resources = expand(parse_workload(Source("w.yaml", text)))["static_resources"]
        assert isinstance(resources, dict)
        return [chain["name"] for chain in resources["listeners"][0]["filter_chains"]]

    assert chains("identity: {certificate: c, private_key: k, ca: a}\n") == ["mtls"]
    assert chains("") == ["plaintext"]


def test_all_problems_at_once_with_places() -> None:
    text = """\
workload:
  nmae: catalog-v1
  namespace: 7
inbound:
  - listen: here
    application: 127.0.0.1:99999
    protocol: htp
  - listen: 127.0.0.1:15006
    application: 8080
    mtls: strict
outbound: nothing
identiy: {}
"""
    assert problems_of(text) == [
        "w.yaml:2:3: workload.name: is missing",
        "w.yaml:2:3: workload.nmae: unknown field; did you mean 'name'?",
        "w.yaml:3:14: workload.namespace: must be text, not a number",
        "w.yaml:5:13: inbound[0].listen: must be ADDRESS:PORT",
        "w.yaml:6:18: inbound[0].application: 99999 is not a port: at most 65535",
        "w.yaml:7:15: inbound[0].protocol: must be one of http, http2, grpc, tcp; did you mean 'http'?",
        "w.yaml:10:11: inbound[1].mtls: strict needs an identity section",
        "w.yaml:11:11: outbound: must be a list, not text",
        "w.yaml:12:1: identiy: unknown field; did you mean 'identity'?",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("workload: [", "w.yaml:2:1: "),
        ("workload: 7\n", "w.yaml:1:11: workload: must be a mapping, not a number"),
        ("workload: {name: ''}\n", "w.yaml:1:18: workload.name: must be text, not empty"),
        ("workload: {name: a}\nadmin: {a: b}\n", "w.yaml:2:8: admin: must be ADDRESS:PORT"),
        ("workload: {name: a, labels: {version: 1}}\n", "must be text, not a number (quote it)"),
        (
            "workload: {name: a}\noutbound: [{service: s, listen: 9, endpoints: [e]}]\n",
            "outbound[0].endpoints[0]: must be ADDRESS:PORT",
        ),
        (
            "workload: {name: a}\noutbound: [{service: s, listen: 9}]\n",
            "w.yaml:2:12: outbound[0].endpoints: is missing",
        ),
        (
            "workload: {name: a}\ninbound: [{listen: 9, application: 1}, {listen: 9, application: 2}]\n",
            "inbound[1].listen: 127.0.0.1:9 is taken by inbound[0]",
        ),
        (
            "workload: {name: a}\noutbound: [{service: s, listen: 9, endpoints: [e:1], mtls: true}]\n",
            "w.yaml:2:60: outbound[0].mtls: needs an identity section",
        ),
        (
            "workload: {name: a}\noutbound: [{service: s, listen: 9, endpoints: [e:1], identities: [x]}]\n",
            "outbound[0].identities: can only be judged with mTLS",
        ),
        ("workload: {name: a}\noutbound: [{service: s, listen: 9, endpoints: []}]\n", "needs at least one"),
        (
            "workload: {name: a}\ninbound: [{listen: 9, application: 9}]\n",
            "is the port of the sidecar itself",
        ),
        ("workload: {name: a}\ninbound: [{listen: localhost:9, application: 8}]\n", "is not an IP address"),
        (
            "workload: {name: a}\nadmin: 9\ninbound: [{listen: 9, application: 8}]\n",
            "w.yaml:2:8: admin: 127.0.0.1:9 is taken by inbound[0]",
        ),
        ("worklod: {name: a}\ninbound: []\n", "worklod: unknown field; did you mean 'workload'?"),
        ("workload: {name: a}\nlog_level: loud\n", "log_level: must be one of trace, debug"),
        (
            "workload: {name: a}\nadmin: 127.0.0.1:9\ninbound: [{listen: '0.0.0.0:9', application: 8}]\n",
            "w.yaml:3:20: inbound[0].listen: 0.0.0.0:9 is taken by admin (127.0.0.1:9)",
        ),
        (
            "workload: {name: a}\ninbound: [{listen: '0.0.0.0:9', application: 9}]\n",
            "is the port of the sidecar itself",
        ),
        (
            "workload: {name: a}\n" + "".join(f"zork{n}: 1\n" for n in range(30)),
            "w.yaml:11:1: zork9: unknown field (and 20 more)",
        ),
    ],
)
def test_single_problems(text: str, problem: str) -> None:
    assert any(problem in line for line in problems_of(text))


def test_which_files_are_workload_files() -> None:
    assert is_workload_file(FULL)
    assert is_workload_file('"workload": {}\n')
    assert is_workload_file("worklod: {}\ninbound: []\n")
    assert not is_workload_file("static_resources: {}\n")
    assert not is_workload_file("node: {metadata: {workload: x}}\n")


PROTOCOLS_TEXT = """\
workload: {name: a}
inbound:
  - {listen: 15006, application: 8080, protocol: PROTOCOL}
outbound:
  - {service: s, listen: 9080, protocol: PROTOCOL, endpoints: ["10.0.0.1:15006"]}
"""


@pytest.mark.parametrize(
    ("protocol", "to_application", "to_peer"),
    [
        ("http", UpstreamHttpProtocol.HTTP1, UpstreamHttpProtocol.USE_DOWNSTREAM),
        ("http2", UpstreamHttpProtocol.HTTP2, UpstreamHttpProtocol.HTTP2),
        ("grpc", UpstreamHttpProtocol.HTTP2, UpstreamHttpProtocol.HTTP2),
    ],
)
def test_protocols(
    protocol: str, to_application: UpstreamHttpProtocol, to_peer: UpstreamHttpProtocol
) -> None:
    bootstrap = expanded(PROTOCOLS_TEXT.replace("PROTOCOL", protocol))
    clusters = {each.name: each.http_options for each in bootstrap.clusters}
    assert clusters["inbound|8080||"].protocol is to_application
    peer = clusters["outbound|9080||s"]
    assert peer.protocol is to_peer
    assert peer.http2.allow_connect
    for listener in bootstrap.listeners:
        manager = listener.filter_chains[0].filters[-1]
        assert isinstance(manager, HttpConnectionManagerSpec)
        assert manager.codec_type is CodecType.AUTO
        assert manager.http2.allow_connect
        assert [each.upgrade_type for each in manager.upgrade_configs] == ["websocket"]
        (host,) = manager.route_config.virtual_hosts
        route = host.routes[0].action
        assert isinstance(route, RouteAction)
        assert (route.timeout_s, route.max_stream_duration_s, route.grpc_timeout_max_s) == (None, 0.0, 0.0)


@pytest.mark.parametrize("other", ["http", "tcp"])
def test_entries_for_one_application_keep_their_protocols(other: str) -> None:
    text = """\
workload: {name: a}
inbound:
  - {listen: 15006, application: 8080, protocol: http2}
  - {listen: 15007, application: 8080, protocol: PROTOCOL}
"""
    bootstrap = expanded(text.replace("PROTOCOL", other))
    clusters = {each.name: each.http_options.protocol for each in bootstrap.clusters if "8080" in each.name}
    assert clusters == {
        "inbound|8080|127.0.0.1_15006|": UpstreamHttpProtocol.HTTP2,
        "inbound|8080|127.0.0.1_15007|": UpstreamHttpProtocol.HTTP1,
    }


def test_tcp_has_no_http_in_it() -> None:
    bootstrap = expanded(PROTOCOLS_TEXT.replace("PROTOCOL", "tcp"))
    filters = [
        type(each)
        for listener in bootstrap.listeners
        for chain in listener.filter_chains
        for each in chain.filters
    ]
    assert HttpConnectionManagerSpec not in filters


def test_workload_discovery() -> None:
    used = "inbound: [{listen: 1, application: 2}]"
    bootstrap = expanded(f"workload: {{name: w}}\n{used}\nworkload_discovery: workloads.yaml")
    assert bootstrap.workload_discovery == WorkloadDiscoverySpec("/certs/workloads.yaml")
    assert expanded("workload: {name: w}").workload_discovery is None


def expanded(text: str) -> Bootstrap:
    import yaml

    expansion = yaml.safe_dump(expand(parse_workload(Source("w.yaml", text)), "/certs"), sort_keys=False)
    parsed = parse_bootstrap([Source("expanded.yaml", expansion)])
    assert parsed.warnings == ()
    return parsed.bootstrap
