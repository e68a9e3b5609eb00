"""Who decides which HTTP is spoken: ALPN, the first bytes, the codec type of a listener, the options of a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.interop.stage import H2, Stage
from tests.support.any_backend import AnyBackend
from tests.support.any_client import PROTOCOLS, any_client
from tests.support.bootstraps import (
    TLS_INSPECTOR,
    Json,
    cluster,
    downstream_tls,
    http_filter_chain,
    http_options,
    listener,
    route_config,
    route_to,
    upstream_tls,
)
from tests.support.ports import free_port

ISTIO_H2 = ("istio-h2", "istio", "h2")
ISTIO_HTTP1 = ("istio-http/1.1", "istio", "http/1.1")

_BOTH: dict[str, Any] = {"http_protocol_options": {}, "http2_protocol_options": {}}
_PROTOCOL_ERROR = b"upstream connect error or disconnect/reset before headers. reset reason: protocol error"


def _answer(text: str) -> Json:
    """A route that the proxy answers itself."""
    return {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": text}}}


# What a client speaks

LISTENER_ALPN = {
    "h2 first": ("h2", "http/1.1"),
    "http/1.1 first": ("http/1.1", "h2"),
    "http/1.1 alone": ("http/1.1",),
    "istio's": ("istio-h2", "istio-http/1.1", "h2", "http/1.1"),
    "none": (),
}

NEGOTIATIONS = [
    ("h2 first", ("h2",), "h2"),
    ("h2 first", ("http/1.1",), "http/1.1"),
    ("h2 first", ("http/1.1", "h2"), "h2"),
    ("h2 first", ISTIO_H2, "h2"),
    ("h2 first", ISTIO_HTTP1, "http/1.1"),
    ("h2 first", ("istio-http/1.1", "istio"), None),
    ("h2 first", (), None),
    ("http/1.1 first", ("h2",), "h2"),
    ("http/1.1 first", ("h2", "http/1.1"), "http/1.1"),
    ("http/1.1 first", ISTIO_H2, "h2"),
    ("http/1.1 alone", ("h2",), None),
    ("http/1.1 alone", ("h2", "http/1.1"), "http/1.1"),
    ("http/1.1 alone", ISTIO_H2, None),
    ("istio's", ISTIO_H2, "istio-h2"),
    ("istio's", ISTIO_HTTP1, "istio-http/1.1"),
    ("istio's", ("h2", "http/1.1"), "h2"),
    ("none", ("h2", "http/1.1"), None),
    ("none", ISTIO_H2, None),
]
"""Listener, what the client offers, what is negotiated: the listener's first that the client offers."""


class Doors(NamedTuple):
    """A proxy whose listeners differ in how they learn the protocol; it answers every request itself."""

    stage: Stage
    ports: dict[str, int]

    def address(self, name: str) -> tuple[str, int]:
        return "127.0.0.1", self.ports[name]


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    stage = Stage(tmp_path_factory.mktemp("doors"))
    created = Doors(stage, {name: free_port() for name in (*LISTENER_ALPN, "AUTO", "HTTP1", "HTTP2")})
    mesh = stage.mesh
    quick: dict[str, Any] = {"delayed_close_timeout": "0.1s"}
    listeners = [
        stage.http_listener(
            _answer(name),
            name=name,
            port=created.ports[name],
            transport_socket=downstream_tls(mesh.leaf("server"), mesh.root, alpn=alpn),
            **quick,
        )
        for name, alpn in LISTENER_ALPN.items()
    ]
    listeners += [
        stage.http_listener(_answer(name), name=name, port=created.ports[name], codec_type=name, **quick)
        for name in ("AUTO", "HTTP1", "HTTP2")
    ]
    stage.start(listeners, [])
    yield created
    stage.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("name", "offer", "negotiated"), NEGOTIATIONS)
def test_alpn_decides(
    doors: Doors, name: str, offer: Sequence[str], negotiated: str | None, protocol: str
) -> None:
    """`h2` is HTTP/2, every other name is HTTP/1.1; with no name the first bytes decide."""
    expected = protocol == "HTTP/2" if negotiated == "h2" else negotiated is None or protocol == "HTTP/1.1"
    context = doors.stage.mesh.client_context("client", alpn=offer)
    with any_client(protocol, doors.address(name), context=context, server_name="server") as client:
        assert client.alpn == negotiated
        client.send_head("GET", "/")
        answered = client.wait_head() == 200
    assert answered == expected


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("codec_type", ["AUTO", "HTTP1", "HTTP2"])
def test_codec_type_decides(doors: Doors, codec_type: str, protocol: str) -> None:
    with any_client(protocol, doors.address(codec_type)) as client:
        client.send_head("GET", "/")
        answered = client.wait_head() == 200
    assert answered == (codec_type in ("AUTO", protocol.replace("/", "").replace(".1", "")))


@pytest.mark.parametrize(
    ("offer", "chain"), [(ISTIO_H2, "mesh"), (ISTIO_HTTP1, "mesh"), (("h2",), "others"), ((), "others")]
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_alpn_names_of_the_mesh_choose_the_filter_chain(
    tmp_path: Path, offer: Sequence[str], chain: str, protocol: str
) -> None:
    """As in Istio's permissive listeners: the chain is chosen by what is offered, the codec by what is negotiated."""
    stage = Stage(tmp_path)
    tls = downstream_tls(stage.mesh.leaf("server"), stage.mesh.root, alpn=["h2", "http/1.1"])
    names = ["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"]
    chains = [
        {
            **http_filter_chain(route_config(_answer(name)), stat_prefix=name),
            "name": name,
            "filter_chain_match": {"transport_protocol": "tls", "application_protocols": matched},
            "transport_socket": tls,
        }
        for name, matched in (("mesh", names), ("others", []))
    ]
    inspector = {"name": "tls", "typed_config": {"@type": TLS_INSPECTOR}}
    stage.start([listener("door", stage.port, *chains, listener_filters=[inspector])], [])
    context = stage.mesh.client_context("client", alpn=offer)
    negotiated = {ISTIO_H2: "h2", ISTIO_HTTP1: "http/1.1", ("h2",): "h2"}.get(tuple(offer))
    fits = negotiated is None or (negotiated == "h2") == (protocol == "HTTP/2")
    with any_client(protocol, stage.address, context=context, server_name="server") as client:
        assert client.alpn == negotiated
        if fits:
            seen = client.request("GET", "/")
            assert (seen.status, seen.body) == (200, chain.encode())
    stage.close()


# What is spoken to an upstream


class Choice(NamedTuple):
    """A cluster, the protocol of its backend and what it negotiates, and the outcome."""

    backend: str
    alpn: Sequence[str] | None
    """None is a backend without TLS."""
    offer: Sequence[str]
    options: Json
    works: bool | str = True
    """A protocol: only for clients that speak it."""


_AUTO = http_options(auto_config=_BOTH)
_DOWNSTREAM = http_options(use_downstream_protocol_config=_BOTH)
_EXPLICIT_H2 = http_options(explicit_http_config=H2)
_EXPLICIT_H1 = http_options(explicit_http_config={"http_protocol_options": {}})

CHOICES = {
    "nothing said": Choice("HTTP/1.1", None, (), {}),
    "http2_protocol_options": Choice("HTTP/2", None, (), H2),
    "explicit HTTP/2": Choice("HTTP/2", None, (), _EXPLICIT_H2),
    "explicit HTTP/1.1": Choice("HTTP/1.1", None, (), _EXPLICIT_H1),
    "explicit HTTP/2, ALPN h2": Choice("HTTP/2", ("h2",), ("h2",), _EXPLICIT_H2),
    "explicit HTTP/2, ALPN of the mesh": Choice("HTTP/2", ("h2", "http/1.1"), ISTIO_H2, _EXPLICIT_H2),
    "explicit HTTP/2, istio-h2 negotiated": Choice("HTTP/2", ("istio-h2",), ISTIO_H2, _EXPLICIT_H2),
    "explicit HTTP/2, no offer": Choice("HTTP/2", ("h2",), (), _EXPLICIT_H2),
    "explicit HTTP/1.1, ALPN of the mesh": Choice("HTTP/1.1", ("h2", "http/1.1"), ISTIO_HTTP1, _EXPLICIT_H1),
    "explicit HTTP/1.1, nothing negotiated": Choice("HTTP/1.1", (), ("http/1.1",), _EXPLICIT_H1),
    "auto, h2 negotiated": Choice("HTTP/2", ("h2", "http/1.1"), (), _AUTO),
    "auto, only h2": Choice("HTTP/2", ("h2",), (), _AUTO),
    "auto, http/1.1 negotiated": Choice("HTTP/1.1", ("http/1.1", "h2"), (), _AUTO),
    "auto, only http/1.1": Choice("HTTP/1.1", ("http/1.1",), (), _AUTO),
    "auto, nothing negotiated": Choice("HTTP/1.1", (), (), _AUTO),
    "auto, ALPN of the mesh": Choice("HTTP/2", ("h2",), ISTIO_H2, _AUTO),
    "auto, ALPN of the mesh, only http/1.1": Choice("HTTP/1.1", ("http/1.1",), ISTIO_H2, _AUTO),
    "downstream's, HTTP/1.1": Choice("HTTP/1.1", None, (), _DOWNSTREAM, "HTTP/1.1"),
    "downstream's, HTTP/2": Choice("HTTP/2", None, (), _DOWNSTREAM, "HTTP/2"),
    "downstream's, HTTP/2 over TLS": Choice("HTTP/2", ("h2",), ("h2",), _DOWNSTREAM, "HTTP/2"),
    "HTTP/2 to a backend without": Choice("HTTP/1.1", None, (), _EXPLICIT_H2, False),
    "HTTP/2 to a TLS backend without": Choice("HTTP/1.1", ("http/1.1",), ISTIO_H2, _EXPLICIT_H2, False),
}


class Ways(NamedTuple):
    """A proxy with a cluster for each choice."""

    stage: Stage
    backends: dict[str, AnyBackend]


def _path(name: str) -> str:
    return f"/{list(CHOICES).index(name)}/"


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    stage = Stage(tmp_path_factory.mktemp("ways"))
    mesh = stage.mesh
    created = Ways(stage, {})
    clusters = []
    for name, choice in CHOICES.items():
        tls = choice.alpn is not None
        context = mesh.server_context("backend", alpn=choice.alpn or ()) if tls else None
        backend = created.backends[name] = AnyBackend(stage.loop, choice.backend, context=context)
        stage.add(backend.backend)
        if choice.works is not True:
            backend.tolerate_violations()
        socket = upstream_tls(mesh.leaf("client"), mesh.root, alpn=choice.offer, sni="backend")
        fields = {"transport_socket": socket} if tls else {}
        clusters.append(cluster(name, backend.address, **fields, **choice.options))
    routes = [route_to(name, prefix=_path(name)) for name in CHOICES]
    stage.start([stage.http_listener(*routes)], clusters)
    yield created
    stage.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", CHOICES)
def test_options_of_the_cluster_decide(ways: Ways, name: str, protocol: str) -> None:
    choice, backend = CHOICES[name], ways.backends[name]
    works = choice.works == protocol if isinstance(choice.works, str) else choice.works
    key = f"{name} {protocol}"
    backend.clear()
    with any_client(protocol, ways.stage.address) as client:
        seen = client.request("POST", _path(name), [("x-log", key)], b"some body")
    entry = ways.stage.log.entry(key)
    if works:
        assert (seen.status, seen.body, entry.flags) == (200, b"hello\n", "-")
        assert backend.last().body == b"some body"
        return
    assert (seen.status, seen.body) == (502, _PROTOCOL_ERROR)
    assert (entry.status, entry.flags) == ("502", "UPE")
