"""How connections are counted, and who is said to have ended them: as Envoy counts."""

from __future__ import annotations

import pytest

from config.model.http import Http1Options
from config.model.route import DirectResponseAction
from sidecar.stream_info import TlsInfo
from sidecar.transport.transport_socket import CloseReason
from tests.support.http_floor import OK, HttpFloor, request, route, route_to

TLS = TlsInfo("TLSv1.3", "TLS_AES_128_GCM_SHA256", "")


def ends(floor: HttpFloor) -> tuple[int, int, int]:
    """Ended by us, by the client, and by us because the client did not."""
    names = ("destroy_local", "destroy_remote", "delayed_close_timeout")
    local, remote, delayed = (floor.stat(f"downstream_cx_{name}") for name in names)
    return local, remote, delayed


@pytest.mark.parametrize(
    "sent",
    [
        request("GET", "/direct", "connection: close"),
        request("POST", "/direct", "content-length: 3"),
        request("GET", "/", "content-length: x"),
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
@pytest.mark.parametrize("client_closes", [True, False])
def test_after_an_answer_at_once_the_client_closes_first(sent: bytes, client_closes: bool) -> None:
    floor = HttpFloor([route_to("/direct", DirectResponseAction(200)), route("/", "web")])
    client = floor.connect()
    client.send(sent)
    assert b"\r\nconnection: close\r\n" in client.take()
    assert client.ended
    assert not client.closed
    if client_closes:
        client.end()
    else:
        floor.advance(1.0)
    assert client.closed
    client.lose()
    assert ends(floor) == ((0, 1, 0) if client_closes else (1, 0, 1))


def test_a_client_that_asked_for_the_end_is_not_waited_for_after_a_proxied_answer() -> None:
    floor = HttpFloor([route("/", "web")])
    client = floor.connect()
    client.send(request("GET", "/", "connection: close"))
    floor.server().send(OK)
    client.take()
    assert client.closed
    client.lose()
    assert ends(floor) == (1, 0, 0)


def test_a_client_that_has_ended_its_side_ended_the_connection() -> None:
    floor = HttpFloor([route("/", "web")])
    client = floor.connect()
    client.end()
    assert client.closed
    client.lose()
    assert ends(floor) == (0, 1, 0)


def test_connections_count_before_their_handshake() -> None:
    floor = HttpFloor([route("/", "web")])
    client = floor.connect(tls=TLS, open_it=False)
    assert floor.stat("downstream_cx_total") == floor.stat("downstream_cx_ssl_total") == 1
    assert floor.stat("downstream_cx_active") == floor.stat("downstream_cx_ssl_active") == 1
    client.connection.on_closed(CloseReason.TRANSPORT_FAILURE, "TLS_error:x")
    assert floor.stat("downstream_cx_active") == floor.stat("downstream_cx_ssl_active") == 0
    assert ends(floor) == (0, 1, 0)


def test_plaintext_connections_are_not_secure_ones() -> None:
    floor = HttpFloor([route("/", "web")])
    floor.connect().lose()
    assert floor.stat("downstream_cx_total") == 1
    assert floor.stat("downstream_cx_ssl_total") == floor.stat("downstream_cx_ssl_active") == 0


def test_only_whole_answers_have_a_time() -> None:
    floor = HttpFloor([route("/", "web")])
    client = floor.connect()
    client.send(request())
    floor.server()
    client.end()
    client.lose()
    assert floor.stat("downstream_rq_time") == 0
    client = floor.connect()
    client.send(b"!\r\n\r\n")
    assert floor.stat("downstream_rq_time") == 1


def test_an_http_10_client_is_waited_for_too() -> None:
    floor = HttpFloor([route_to("/", DirectResponseAction(200))], http1=Http1Options(accept_http_10=True))
    client = floor.connect()
    client.send(b"GET / HTTP/1.0\r\nhost: a\r\n\r\n")
    assert client.ended
    assert not client.closed
