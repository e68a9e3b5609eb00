"""Which ALPN offer a request makes towards its upstream."""

from __future__ import annotations

import pytest

from config.model.cluster import UpstreamHttpOptions, UpstreamHttpProtocol
from config.model.core import Metadata
from config.model.http import Http1Options, RouterSpec
from config.model.istio import AlpnOverrideSpec, AlpnUpstreamProtocol
from config.model.route import DirectResponseAction
from tests.support.http_floor import OK, HttpFloor, request, route, route_to
from tests.support.upstream import static_spec

HTTP10 = ("istio-http/1.0", "istio", "http/1.0")
HTTP11 = ("istio-http/1.1", "istio", "http/1.1")
SPEC = AlpnOverrideSpec(
    (
        (AlpnUpstreamProtocol.HTTP10, HTTP10),
        (AlpnUpstreamProtocol.HTTP11, HTTP11),
        (AlpnUpstreamProtocol.HTTP11, ("later",)),
    )
)


def offer(
    spec: AlpnOverrideSpec = SPEC,
    *,
    protocol: UpstreamHttpProtocol = UpstreamHttpProtocol.HTTP1,
    metadata: dict[str, object] | None = None,
    sent: bytes = b"",
) -> tuple[str, ...] | None:
    cluster = static_spec(
        "web",
        http_options=UpstreamHttpOptions(protocol=protocol),
        metadata=Metadata({"istio": metadata or {}}),
    )
    floor = HttpFloor(
        [route("/", "web")],
        clusters=[cluster],
        filters=[spec, RouterSpec()],
        http1=Http1Options(accept_http_10=True),
    )
    client = floor.connect()
    client.send(sent or request())
    if floor.asked():
        floor.server().send(OK)
    return floor.last.info.application_protocols


def test_first_entry_of_a_protocol_counts() -> None:
    assert offer() == HTTP11


def test_http1_cluster_is_11_for_a_10_client_too() -> None:
    assert offer(sent=b"GET / HTTP/1.0\r\nhost: a\r\n\r\n") == HTTP11


def test_http2_is_not_offered_where_the_server_could_choose_it() -> None:
    spec = AlpnOverrideSpec((*SPEC.overrides, (AlpnUpstreamProtocol.HTTP2, ("istio-h2", "istio", "h2"))))
    assert offer(spec, protocol=UpstreamHttpProtocol.AUTO) == HTTP11


def test_downstream_protocol_where_the_cluster_follows_it() -> None:
    use = UpstreamHttpProtocol.USE_DOWNSTREAM
    assert offer(protocol=use) == HTTP11
    assert offer(protocol=use, sent=b"GET / HTTP/1.0\r\nhost: a\r\n\r\n") == HTTP10


def test_protocol_without_an_entry() -> None:
    assert offer(AlpnOverrideSpec(((AlpnUpstreamProtocol.HTTP2, ("h2",)),))) is None
    assert offer(AlpnOverrideSpec(((AlpnUpstreamProtocol.HTTP11, ()),))) is None


@pytest.mark.parametrize(
    ("value", "kept"), [("false", False), (False, True), ("true", True), ("False", True)]
)
def test_cluster_opts_out_with_the_string_only(value: object, kept: bool) -> None:
    assert (offer(metadata={"alpn_override": value}) == HTTP11) is kept


def test_no_cluster_no_offer() -> None:
    floor = HttpFloor([route_to("/", DirectResponseAction(200))], filters=[SPEC, RouterSpec()])
    floor.connect().send(request())
    assert floor.last.info.application_protocols is None
