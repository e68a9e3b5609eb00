"""What the connection manager does to every request head before routing (Envoy's order and rules), compiled once."""

from __future__ import annotations

from typing import Final

from config.model.core import Address, SocketAddress
from config.model.http import HttpConnectionManagerSpec
from protocols.http.headers import Headers
from sidecar.http.client_address import (
    append_forwarded_for,
    compile_internal,
    forwarded_client,
    is_loopback,
)
from sidecar.http.forwarded_client_cert import compile_xfcc
from sidecar.http.request_id import RequestIds, TraceReason, reason_of, with_reason
from sidecar.http.request_target import Refusal, TargetRules
from sidecar.stream_info import StreamInfo

#: Told by Envoy to Envoy: only an internal request may bring them.
_INTERNAL_ONLY: Final = frozenset(
    {
        b"x-envoy-expected-rq-timeout-ms",
        b"x-envoy-force-trace",
        b"x-envoy-hedge-on-per-try-timeout",
        b"x-envoy-ip-tags",
        b"x-envoy-max-retries",
        b"x-envoy-original-url",
        b"x-envoy-retriable-header-names",
        b"x-envoy-retriable-status-codes",
        b"x-envoy-retry-grpc-on",
        b"x-envoy-retry-on",
        b"x-envoy-upstream-alt-stat-name",
        b"x-envoy-upstream-rq-per-try-timeout-ms",
        b"x-envoy-upstream-rq-timeout-alt-response",
        b"x-envoy-upstream-rq-timeout-ms",
    }
)
#: Not even an internal-looking edge request may bring these.
_EDGE_ONLY: Final = frozenset(
    {
        b"x-envoy-decorator-operation",
        b"x-envoy-downstream-service-cluster",
        b"x-envoy-downstream-service-node",
        b"x-envoy-original-host",
        b"x-envoy-original-path",
    }
)
_FROM_ENVOY: Final = _INTERNAL_ONLY | _EDGE_ONLY | {b"x-envoy-internal"}
_XFP: Final = b"x-forwarded-proto"
_XFPORT: Final = b"x-forwarded-port"
_REQUEST_ID: Final = b"x-request-id"

#: What `x-forwarded-proto` may claim; anything else, and the scheme is that of the connection.
_SCHEMES: Final = {scheme: scheme for scheme in (b"http", b"https")}


class RequestRules:
    """Compiled from one HttpConnectionManagerSpec; shared by all its connections.

    `local_ip` is this machine's address, which stands in `x-forwarded-for` for a client on the loopback.
    Hop-by-hop fields are not its business: the codec has taken them out.
    """

    __slots__ = (
        "_append_port",
        "_generate_request_id",
        "_ids",
        "_is_internal",
        "_local_ip",
        "_packs_trace_reason",
        "_preserve_external_id",
        "_skip_xff_append",
        "_target",
        "_trusted_hops",
        "_use_remote_address",
        "_via",
        "_xfcc",
    )

    def __init__(self, spec: HttpConnectionManagerSpec, local_ip: str = "127.0.0.1") -> None:
        self._target = TargetRules(spec)
        self._use_remote_address = spec.use_remote_address
        self._trusted_hops = spec.xff_num_trusted_hops
        self._skip_xff_append = spec.skip_xff_append
        self._append_port = spec.append_x_forwarded_port
        self._is_internal = compile_internal(spec.internal_address_ranges)
        self._local_ip = local_ip.encode()
        self._via = spec.via.encode()
        self._generate_request_id = spec.generate_request_id
        self._preserve_external_id = spec.preserve_external_request_id
        self._packs_trace_reason = spec.request_id.pack_trace_reason
        self._ids = RequestIds()
        self._xfcc = compile_xfcc(spec.forward_client_cert_details, spec.set_current_client_cert_details)

    def apply(
        self, headers: Headers, info: StreamInfo, internal_only_headers: tuple[bytes, ...] = ()
    ) -> Refusal | None:
        """Check and edit the head; None: go on and route it.

        Sets `info.remote_address` when the client was found behind trusted proxies. `internal_only_headers` are those of
        the route table.
        """
        refusal = self._target.apply(headers, info)
        if refusal is not None:
            return refusal
        connection = info.connection
        secure = connection.tls is not None
        if self._use_remote_address:
            client, may_be_internal = self._edge_client(headers, connection.remote_address, secure)
        else:
            client, may_be_internal = self._forwarded_client(headers)
        if client is not None:
            info.remote_address = client
        protocol = b"https" if secure else b"http"
        claimed = headers.get(_XFP)
        if claimed is None:
            headers.set(_XFP, protocol)
        if self._append_port and _XFPORT not in headers:
            _set_forwarded_port(headers, connection.local_address)
        if not headers.scheme:
            headers.scheme = protocol if claimed is None else _SCHEMES.get(claimed.lower(), protocol)
        internal = may_be_internal and self._is_internal(client or connection.remote_address)
        edge = self._use_remote_address and not internal
        if headers.has_any(_FROM_ENVOY):
            _drop_claims(headers, internal, edge)
        if internal:
            headers.set(b"x-envoy-internal", b"true")
        for name in internal_only_headers:
            headers.remove(name)
        if self._via:
            append_via(headers, self._via)
        if edge:
            _set_external_address(headers, client or connection.remote_address)
        request_id = headers.get(_REQUEST_ID)
        if self._generate_request_id and ((edge and not self._preserve_external_id) or not request_id):
            headers.set(_REQUEST_ID, self._ids.next())
        elif edge and request_id and self._packs_trace_reason:
            _forget_trace_reason(headers, request_id)
        self._xfcc(headers, connection.tls)
        return None

    def _forwarded_client(self, headers: Headers) -> tuple[Address | None, bool]:
        """Behind a trusted proxy: the client is whom `x-forwarded-for` names."""
        if b"x-forwarded-for" not in headers:
            return None, False
        found = forwarded_client(headers, self._trusted_hops)
        return found if found is not None else (None, False)

    def _edge_client(self, headers: Headers, peer: Address, secure: bool) -> tuple[Address | None, bool]:
        """At the edge: the client is our peer, or whom `x-forwarded-for` names before the trusted proxies."""
        may_be_internal = b"x-forwarded-for" not in headers
        client: Address | None = None
        if self._trusted_hops and not may_be_internal:
            found = forwarded_client(headers, self._trusted_hops - 1)
            client = found.address if found is not None else None
        if not self._skip_xff_append and isinstance(peer, SocketAddress):
            append_forwarded_for(headers, self._local_ip if is_loopback(peer) else peer.address.encode())
        if not self._trusted_hops or _XFP not in headers:
            headers.set(_XFP, b"https" if secure else b"http")
        if self._append_port and not self._trusted_hops:
            headers.remove(_XFPORT)  # not believed: set anew from the listener's address
        return client, may_be_internal


def _forget_trace_reason(headers: Headers, request_id: bytes) -> None:
    """A stranger does not decide what is traced."""
    if reason_of(request_id) is not TraceReason.NOT_TRACEABLE:
        headers.set(_REQUEST_ID, with_reason(request_id, TraceReason.NOT_TRACEABLE))


def _set_forwarded_port(headers: Headers, local: Address) -> None:
    if isinstance(local, SocketAddress):
        headers.set(_XFPORT, b"%d" % local.port)


def _drop_claims(headers: Headers, internal: bool, edge: bool) -> None:
    headers.remove(b"x-envoy-internal")
    if internal:
        return
    for name in headers.intersection(_INTERNAL_ONLY):
        headers.remove(name)
    if edge:
        for name in headers.intersection(_EDGE_ONLY):
            headers.remove(name)


def _set_external_address(headers: Headers, client: Address) -> None:
    if isinstance(client, SocketAddress):
        headers.set(b"x-envoy-external-address", client.address.encode())


def append_via(headers: Headers, via: bytes) -> None:
    """RFC 9110 section 7.6.3, with what the configuration gives."""
    value = headers.joined(b"via")
    headers.set(b"via", b"%b, %b" % (value, via) if value else via)
