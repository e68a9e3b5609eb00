"""The machine's own address, without DNS."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

import pytest

from sidecar.transport import local_address as module
from sidecar.transport.local_address import local_address

_TABLE = """\
00000000000000000000000000000001 01 80 10 80       lo
fe8000000000000000fc00fffe000001 03 40 20 80     eth1
fe8000000000000000fc00fffe000002 02 40 20 80     eth0
fd000000000000000000000000000002 02 40 00 82     eth0
"""


def test_it_is_an_address_of_this_machine() -> None:
    address = local_address()
    with socket.socket() as sock:
        sock.bind((address, 0))


def test_interfaces_in_their_order() -> None:
    found = module._first_ipv6(_TABLE)
    assert found == "fd00::2"


def test_only_the_loopback() -> None:
    assert module._first_ipv6(_TABLE.splitlines()[0]) is None
    assert module._first_ipv6("") is None


def test_ipv6_is_ipv6() -> None:
    assert ipaddress.ip_address(local_address(ipv6=True)).version == 6


@pytest.mark.parametrize(("ipv6", "expected"), [(False, "127.0.0.1"), (True, "::1")])
def test_without_a_network_it_is_the_loopback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ipv6: bool, expected: str
) -> None:
    monkeypatch.setattr(socket, "if_nameindex", list)
    monkeypatch.setattr(module, "_IF_INET6", tmp_path / "missing")
    assert local_address(ipv6) == expected


def test_a_table_that_makes_no_sense(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = tmp_path / "if_inet6"
    table.write_text("nonsense\n")
    monkeypatch.setattr(module, "_IF_INET6", table)
    assert local_address(ipv6=True) == "::1"
