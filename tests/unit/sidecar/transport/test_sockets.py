"""Addresses between kernel and us; listening sockets; what is redirected."""

from __future__ import annotations

import os
import resource
import socket
import stat
from pathlib import Path
from typing import Any, cast

import pytest

from config.model.core import InternalAddress, PipeAddress, SocketAddress
from sidecar.transport import sockets
from sidecar.transport.sockets import BindError, address_of, listen, original_destination


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (("10.0.0.1", 80), SocketAddress("10.0.0.1", 80)),
        (("::1", 80, 0, 0), SocketAddress("::1", 80)),
        (("::ffff:10.0.0.1", 80, 0, 0), SocketAddress("10.0.0.1", 80)),
        (("fe80::1%eth0", 80, 0, 2), SocketAddress("fe80::1", 80)),
        ("/run/socket", PipeAddress("/run/socket")),
        (b"/run/socket", PipeAddress("/run/socket")),
        (b"\0abstract", PipeAddress("@abstract")),
        ("", PipeAddress("")),
        (None, PipeAddress("")),
    ],
)
def test_address_of(name: object, address: object) -> None:
    assert address_of(name) == address


def test_listen_on_a_free_port() -> None:
    with listen(SocketAddress("127.0.0.1", 0)) as server:
        assert not server.getblocking()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(BindError) as caught:
            listen(SocketAddress("127.0.0.1", port))
    assert caught.value.strerror == f"cannot listen on 127.0.0.1:{port}: Address already in use"


def test_a_port_that_another_process_shares_is_in_use_too() -> None:
    """SO_REUSEPORT on both sides would succeed without a word, and each would get half of the connections."""
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other, pytest.raises(BindError):
        listen(SocketAddress("127.0.0.1", other.getsockname()[1]))


def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(BindError, match=r"cannot listen on 192\.0\.2\.1:80"):
        listen(SocketAddress("192.0.2.1", 80))


def test_freebind_takes_it_all_the_same() -> None:
    with listen(SocketAddress("192.0.2.1", 0), freebind=True) as server:
        assert server.getsockname()[0] == "192.0.2.1"


def test_internal_addresses_have_no_socket() -> None:
    with pytest.raises(BindError, match="cannot be bound"):
        listen(InternalAddress("inner", ""))


def test_ipv6_only() -> None:
    with listen(SocketAddress("::1", 0)) as server:
        assert server.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


def test_unix_socket_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listen(PipeAddress(str(path), 0o600)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    listen(PipeAddress(path)).close()
    assert os.path.exists(path)
    with listen(PipeAddress(path)), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def test_a_unix_socket_that_somebody_serves_stays(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with listen(PipeAddress(path)), pytest.raises(BindError, match="Address already in use"):
        listen(PipeAddress(path))


def test_a_file_is_not_taken_for_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(BindError):
        listen(PipeAddress(str(path)))
    assert path.read_text() == "precious"


def test_abstract_unix_socket() -> None:
    name = f"@sidecar-test-{os.getpid()}"
    with listen(PipeAddress(name)) as server:
        assert address_of(server.getsockname()) == PipeAddress(name)


def test_a_connection_that_nobody_redirected() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        accepted, _ = server.accept()
        with accepted:
            assert original_destination(accepted) is None


def test_unix_sockets_are_never_redirected() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert original_destination(one) is None


def test_all_descriptors_that_the_system_allows() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(200, before[1]), before[1]))
        assert sockets.raise_descriptor_limit() == before[1]
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(
    ("limit", "descriptor", "run_out"),
    [
        (60, 58, False),
        (60, 59, True),
        (1024, 1007, False),
        (1024, 1008, True),
        (1_000_000, 999_935, False),
        (1_000_000, 999_936, True),
        (resource.RLIM_INFINITY, 1_000_000, False),
    ],
)
def test_the_last_descriptors(
    monkeypatch: pytest.MonkeyPatch, limit: int, descriptor: int, run_out: bool
) -> None:
    class Numbered:
        def fileno(self) -> int:
            return descriptor

    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    assert sockets.descriptors_run_out(cast("Any", Numbered())) is run_out
    assert not sockets.descriptors_run_out(None)
