"""Short ways to write route configurations in tests."""

from __future__ import annotations

from typing import Any

from config.model.core import HeaderAppendAction, HeaderValueOption, SocketAddress
from config.model.route import (
    PathMatchKind,
    RouteAction,
    RouteActionSpec,
    RouteConfiguration,
    RouteMatch,
    RouteSpec,
    VirtualHost,
)
from protocols.http.headers import Headers
from sidecar.http.route import Route
from sidecar.http.routing import RouteTable
from sidecar.stream_info import ConnectionInfo, StreamInfo


def route(
    path: str = "/",
    action: RouteActionSpec | None = None,
    kind: PathMatchKind = PathMatchKind.PREFIX,
    *,
    name: str = "",
    match: dict[str, Any] | None = None,
    **fields: Any,
) -> RouteSpec:
    spec = RouteMatch(kind, path, **(match or {}))
    return RouteSpec(spec, action or RouteAction(cluster="back"), name or path, **fields)


def host(
    *routes: RouteSpec, domains: tuple[str, ...] = ("*",), name: str = "v", **fields: Any
) -> VirtualHost:
    return VirtualHost(name, domains, routes or (route(),), **fields)


def table(*hosts: VirtualHost, **fields: Any) -> RouteTable:
    return RouteTable(RouteConfiguration("table", hosts, **fields))


def request(
    path: bytes = b"/",
    authority: bytes = b"a.example",
    *fields: tuple[bytes, bytes],
    method: bytes = b"GET",
    scheme: bytes = b"http",
) -> Headers:
    """A request head as the request rules leave it."""
    headers = Headers.request(method, path, authority, list(fields), scheme)
    if b"x-forwarded-proto" not in headers:
        headers.set(b"x-forwarded-proto", scheme)
    return headers


def find(routes: RouteTable, headers: Headers, random: int = 0) -> Route | None:
    return routes.match(headers, lambda: random)


def name_of(found: Route | None) -> str | None:
    return None if found is None else found.name


def stream(headers: Headers | None = None) -> StreamInfo:
    connection = ConnectionInfo(SocketAddress("10.0.0.1", 40000), SocketAddress("10.0.0.2", 80))
    info = StreamInfo(connection, 1.0, 1)
    info.protocol = "HTTP/1.1"
    info.request_headers = headers
    return info


def append(key: str, value: str, *, keep_empty: bool = False) -> HeaderValueOption:
    return HeaderValueOption(key, value, keep_empty_value=keep_empty)


def overwrite(key: str, value: str) -> HeaderValueOption:
    return HeaderValueOption(key, value, HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD)


def if_absent(key: str, value: str) -> HeaderValueOption:
    return HeaderValueOption(key, value, HeaderAppendAction.ADD_IF_ABSENT)


def if_exists(key: str, value: str) -> HeaderValueOption:
    return HeaderValueOption(key, value, HeaderAppendAction.OVERWRITE_IF_EXISTS)
