"""Negotiation and chain selection, as tables."""

from __future__ import annotations

import pytest

from alpn.names import ISTIO_HTTP, ISTIO_MTLS, ISTIO_TCP
from alpn.select import HttpCodecChoice, choose, http_codec, match_offer

TCP_CONTEXT = ("istio-peer-exchange", "h2", "http/1.1")
HTTP_CONTEXT = ("h2", "http/1.1")


@pytest.mark.parametrize(
    ("offered", "tcp", "http"),
    [
        (("istio-peer-exchange", "istio"), "istio-peer-exchange", ""),
        (("istio-peer-exchange", "istio", "h2"), "istio-peer-exchange", "h2"),
        (("istio-http/1.1", "istio", "http/1.1"), "http/1.1", "http/1.1"),
        (("istio-http/1.0", "istio", "http/1.0"), "", ""),
        (("istio-h2", "istio", "h2"), "h2", "h2"),
        (("istio-http/1.1", "istio"), "", ""),
        (("istio-h2", "istio"), "", ""),
        (("h2", "http/1.1"), "h2", "h2"),
        (("http/1.1", "h2"), "h2", "h2"),
        (("http/1.1", "istio-peer-exchange"), "istio-peer-exchange", "http/1.1"),
        ((), "", ""),
        (("istio",), "", ""),
    ],
)
def test_the_servers_order_decides(offered: tuple[str, ...], tcp: str, http: str) -> None:
    assert choose(TCP_CONTEXT, offered) == tcp
    assert choose(HTTP_CONTEXT, offered) == http


@pytest.mark.parametrize(
    ("offered", "http_chain", "tcp_chain", "any_chain"),
    [
        (("istio-http/1.1", "istio", "http/1.1"), "istio-http/1.1", "istio", "istio-http/1.1"),
        (("istio-peer-exchange", "istio"), "", "istio-peer-exchange", "istio-peer-exchange"),
        (("istio", "istio-http/1.1"), "istio-http/1.1", "istio", "istio"),
        (("h2", "http/1.1"), "", "", ""),
        ((), "", "", ""),
    ],
)
def test_the_clients_order_decides_between_chains(
    offered: tuple[str, ...], http_chain: str, tcp_chain: str, any_chain: str
) -> None:
    assert match_offer(offered, frozenset(ISTIO_HTTP)) == http_chain
    assert match_offer(offered, frozenset(ISTIO_TCP)) == tcp_chain
    assert match_offer(offered, frozenset(ISTIO_MTLS)) == any_chain


@pytest.mark.parametrize(
    ("negotiated", "codec"),
    [
        ("h2", HttpCodecChoice.HTTP2),
        ("http/1.1", HttpCodecChoice.HTTP1),
        ("istio-peer-exchange", HttpCodecChoice.HTTP1),
        ("", HttpCodecChoice.BY_PREFACE),
    ],
)
def test_codec_of_a_negotiated_name(negotiated: str, codec: HttpCodecChoice) -> None:
    assert http_codec(negotiated) is codec
