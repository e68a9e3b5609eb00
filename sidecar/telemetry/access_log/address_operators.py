"""Operators of addresses, and of what is known about the upstream host behind them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from config.model.core import Address, InternalAddress, SocketAddress
from sidecar.stream_info import ResponseFlag, StreamInfo, UpstreamInfo
from sidecar.telemetry.access_log.operator import (
    Argument,
    Builder,
    Operator,
    number,
    optional_number,
    present_text,
    refuse_argument,
    refuse_length,
    text,
)


def address_text(address: Address | None) -> str:
    return str(address) if address is not None else ""


def _without_port(address: Address | None) -> str:
    return address.address if isinstance(address, SocketAddress) else address_text(address)


def _port(address: Address | None) -> int | None:
    return address.port if isinstance(address, SocketAddress) else None


def _endpoint_id(address: Address) -> str:
    return address.endpoint_id if isinstance(address, InternalAddress) else ""


_AddressOf: TypeAlias = Callable[[StreamInfo], Address | None]


def _address_family(name: str, address_of: _AddressOf) -> dict[str, Builder]:
    """`X_ADDRESS`, `X_ADDRESS_WITHOUT_PORT` and `X_PORT`."""
    return {
        f"{name}_ADDRESS": _whole(address_of),
        f"{name}_ADDRESS_WITHOUT_PORT": _network(address_of),
        f"{name}_PORT": _port_of(address_of),
    }


class _Whole(Operator):
    __slots__ = ("_address_of", "_missing")

    def __init__(self, address_of: _AddressOf, missing: bytes) -> None:
        super().__init__(settled=True)
        self._address_of: Final = address_of
        self._missing: Final = missing

    def read(self, info: StreamInfo) -> bytes:
        address = self._address_of(info)
        return self._missing if address is None else address.as_bytes or self._missing


def _whole(address_of: _AddressOf) -> Builder:
    def build(argument: Argument) -> Operator:
        refuse_argument(argument)
        return _Whole(address_of, argument.missing)

    return build


def _port_of(address_of: _AddressOf) -> Builder:
    return optional_number(lambda info: _port(address_of(info)), settled=True)


def _network(address_of: _AddressOf) -> Builder:
    """The address alone; `(N)`: the network of its first N bits."""

    def build(argument: Argument) -> Operator:
        refuse_length(argument)
        if not argument.text or not argument.text.isdecimal():
            network = text(lambda info: _without_port(address_of(info)), settled=True)
        else:
            bits = int(argument.text)
            network = text(lambda info: _masked(_without_port(address_of(info)), bits), settled=True)
        return network(argument._replace(text=None))

    return build


def _masked(address: str, bits: int) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, min(bits, parsed.max_prefixlen)), strict=False))


def _host_address(info: StreamInfo) -> Address | None:
    return info.upstream.host_address if info.upstream is not None else None


def _upstream_local(info: StreamInfo) -> Address | None:
    return info.upstream.local_address if info.upstream is not None else None


def _upstream_remote(info: StreamInfo) -> Address | None:
    """None where no connection came about."""
    upstream = info.upstream
    return upstream.remote_address if upstream is not None and upstream.local_address is not None else None


def _upstream_host_name(info: StreamInfo) -> str:
    upstream = info.upstream
    return (upstream.hostname or address_text(upstream.host_address)) if upstream is not None else ""


def _upstream_host_name_without_port(info: StreamInfo) -> str:
    upstream = info.upstream
    if upstream is None:
        return ""
    return upstream.hostname or _without_port(upstream.host_address)


def _attempted(get: Callable[[UpstreamInfo], str]) -> Builder:
    """Of the last attempt, if it got a connection (of a TCP session: also if not). Envoy's list has no others either."""

    def attempted(info: StreamInfo) -> str:
        last = info.upstream
        return "" if last is None or (info.protocol and last.local_address is None) else get(last)

    return text(attempted, settled=True)


def _downstream_close_type(info: StreamInfo) -> str:
    return "RemoteReset" if info.response_flags & ResponseFlag.DOWNSTREAM_REMOTE_RESET else "Normal"


def _upstream_close_type(info: StreamInfo) -> str:
    if info.upstream is None:
        return ""
    return "RemoteReset" if info.response_flags & ResponseFlag.UPSTREAM_REMOTE_RESET else "Normal"


def _upstream_protocol(info: StreamInfo) -> str:
    return info.upstream_exchange.version.value if info.upstream_exchange is not None else ""


def _upstream_failure(info: StreamInfo) -> str:
    """It may still become one after a request: the connection's other users share it."""
    return info.upstream.transport_failure_reason.replace(" ", "_") if info.upstream is not None else ""


ADDRESS_OPERATORS: Final[Mapping[str, Builder]] = {
    **_address_family(
        "DOWNSTREAM_REMOTE", lambda info: info.remote_address or info.connection.remote_address
    ),
    **_address_family("DOWNSTREAM_DIRECT_REMOTE", lambda info: info.connection.direct_remote_address),
    **_address_family("DOWNSTREAM_LOCAL", lambda info: info.connection.local_address),
    **_address_family("DOWNSTREAM_DIRECT_LOCAL", lambda info: info.connection.direct_local_address),
    **_address_family("UPSTREAM_REMOTE", _upstream_remote),
    **_address_family("UPSTREAM_LOCAL", _upstream_local),
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID": present_text(
        lambda info: _endpoint_id(info.connection.direct_local_address)
    ),
    "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID": present_text(
        lambda info: _endpoint_id(info.connection.local_address)
    ),
    "UPSTREAM_CONNECTION_ID": number(lambda info: info.upstream.connection_id if info.upstream else 0),
    "UPSTREAM_CONNECTION_IDS_ATTEMPTED": _attempted(lambda each: str(each.connection_id or "")),
    "UPSTREAM_HOSTS_ATTEMPTED": _attempted(lambda each: address_text(each.host_address)),
    "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT": _attempted(lambda each: _without_port(each.host_address)),
    "UPSTREAM_HOST_NAMES_ATTEMPTED": _attempted(
        lambda each: each.hostname or address_text(each.host_address)
    ),
    "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT": _attempted(
        lambda each: each.hostname or _without_port(each.host_address)
    ),
    "DOWNSTREAM_DETECTED_CLOSE_TYPE": text(_downstream_close_type),
    "UPSTREAM_DETECTED_CLOSE_TYPE": text(_upstream_close_type),
    "UPSTREAM_PROTOCOL": text(_upstream_protocol, settled=True),
    "UPSTREAM_HOST": _whole(_host_address),
    "UPSTREAM_HOST_NAME": text(_upstream_host_name, settled=True),
    "UPSTREAM_HOST_NAME_WITHOUT_PORT": text(_upstream_host_name_without_port, settled=True),
    "UPSTREAM_TRANSPORT_FAILURE_REASON": text(_upstream_failure),
}
