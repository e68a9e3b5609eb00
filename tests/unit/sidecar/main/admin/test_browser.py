"""Which admin requests another site's page has made."""

from __future__ import annotations

import pytest

from config.model.core import Address, PipeAddress, SocketAddress
from protocols.http.headers import Headers
from sidecar.main.admin.browser import is_foreign

LOOPBACK, OUTSIDE = SocketAddress("127.0.0.1", 15000), SocketAddress("10.0.0.1", 15000)


@pytest.mark.parametrize(
    ("authority", "local", "foreign"),
    [
        (b"127.0.0.1:15000", LOOPBACK, False),
        (b"localhost", LOOPBACK, False),
        (b"LOCALHOST:15000", LOOPBACK, False),
        (b"[::1]:15000", SocketAddress("::1", 15000), False),
        (b"", LOOPBACK, False),
        (b"container:15000", LOOPBACK, False),
        (b"evil.example", LOOPBACK, True),
        (b"evil.example:15000", SocketAddress("::1", 15000), True),
        (b"localhost.evil.example", LOOPBACK, True),
        (b"1.2.3.4.5", LOOPBACK, True),
        (b"\xff.\xfe", LOOPBACK, True),
        (b"proxy.example:15000", OUTSIDE, False),
        (b"proxy.example", PipeAddress("/run/admin"), False),
    ],
)
def test_host_names(authority: bytes, local: Address, foreign: bool) -> None:
    assert is_foreign(Headers.request(b"GET", b"/config_dump?x", authority), local) is foreign


@pytest.mark.parametrize(
    ("origin", "foreign"),
    [(b"http://10.0.0.1:15000", False), (b"http://evil.example", True), (b"null", True), (b"", True)],
)
def test_origins(origin: bytes, foreign: bool) -> None:
    request = Headers.request(b"POST", b"/quitquitquit", b"10.0.0.1:15000", [(b"origin", origin)])
    assert is_foreign(request, OUTSIDE) is foreign


@pytest.mark.parametrize("path", [b"/stats/prometheus", b"/stats/prometheus?usedonly", b"/ready"])
def test_pages_for_scrapers_are_open(path: bytes) -> None:
    assert not is_foreign(Headers.request(b"GET", path, b"pod.shop.svc"), LOOPBACK)


@pytest.mark.parametrize("path", [b"/stats", b"/ready/", b"/stats/prometheus/x", b"/"])
def test_others_are_not(path: bytes) -> None:
    assert is_foreign(Headers.request(b"GET", path, b"pod.shop.svc"), LOOPBACK)
