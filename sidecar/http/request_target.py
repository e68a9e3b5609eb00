"""Judging and normalising the target of a request: host and path rules of the connection manager."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from config.model.core import Address, SocketAddress
from config.model.http import HttpConnectionManagerSpec, PathWithEscapedSlashesAction
from protocols.http.headers import Headers
from protocols.http.path import EscapedSlashes, PathRules, PathVerdict, apply_path_rules
from sidecar.http.routing import port_start
from sidecar.stream_info import StreamInfo


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is answered by the proxy before it is routed. `location` is set for a redirect to the normalised path."""

    status: int
    details: str
    body: bytes = b""
    flags: int = 0
    close: bool = False
    location: bytes = b""


MISSING_HOST: Final = Refusal(400, "missing_host_header", close=True)
ABSOLUTE_PATH_REJECTED: Final = Refusal(404, "absolute_path_rejected")
PATH_NORMALIZATION_FAILED: Final = Refusal(400, "path_normalization_failed", close=True)


_ESCAPED_SLASHES: Final = {
    PathWithEscapedSlashesAction.KEEP_UNCHANGED: EscapedSlashes.KEEP_UNCHANGED,
    PathWithEscapedSlashesAction.REJECT_REQUEST: EscapedSlashes.REJECT_REQUEST,
    PathWithEscapedSlashesAction.UNESCAPE_AND_REDIRECT: EscapedSlashes.UNESCAPE_AND_REDIRECT,
    PathWithEscapedSlashesAction.UNESCAPE_AND_FORWARD: EscapedSlashes.UNESCAPE_AND_FORWARD,
}


class TargetRules:
    """Compiled from one HttpConnectionManagerSpec."""

    __slots__ = (
        "_path_rules",
        "_strip_any_port",
        "_strip_matching_port",
        "_strip_trailing_dot",
        "_touches_host",
    )

    def __init__(self, spec: HttpConnectionManagerSpec) -> None:
        self._path_rules = PathRules(
            normalize=spec.normalize_path,
            merge_slashes=spec.merge_slashes,
            escaped_slashes=_ESCAPED_SLASHES[spec.path_with_escaped_slashes_action],
        )
        self._strip_any_port = spec.strip_any_host_port
        self._strip_matching_port = spec.strip_matching_host_port
        self._strip_trailing_dot = spec.strip_trailing_host_dot
        self._touches_host = self._strip_any_port or self._strip_matching_port or self._strip_trailing_dot

    def apply(self, headers: Headers, info: StreamInfo) -> Refusal | None:
        """Normalise path and host in place; CONNECT has no path and keeps that."""
        if headers.lacks_host:
            return MISSING_HOST
        path = headers.path
        if path:
            if path[0] != 0x2F:
                return ABSOLUTE_PATH_REJECTED
            path, verdict = apply_path_rules(path, self._path_rules)
            if verdict is not PathVerdict.FORWARD:
                if verdict is PathVerdict.REJECT:
                    return PATH_NORMALIZATION_FAILED
                return Refusal(307, PATH_NORMALIZATION_FAILED.details, location=path)
            headers.path = path
        if self._touches_host:
            self._normalize_host(headers, info.connection.local_address)
        return None

    def _normalize_host(self, headers: Headers, local: Address) -> None:
        host = headers.authority
        if self._strip_trailing_dot:
            host = _without_trailing_dot(host)
        if self._strip_any_port or self._strip_matching_port:
            colon = port_start(host)
            if colon >= 0 and _is_stripped(host[colon + 1 :], None if self._strip_any_port else local):
                host = host[:colon]
        headers.authority = host


def _is_stripped(port: bytes, local: Address | None) -> bool:
    """Whether the port may go: any number, or only that of the listener's address `local`."""
    if not port.isdigit() or len(port) > 9:
        return False
    return local is None or (isinstance(local, SocketAddress) and int(port) == local.port)


def _without_trailing_dot(host: bytes) -> bytes:
    if host.endswith(b"."):
        return host[:-1]
    dot = host.rfind(b".:")
    return host[:dot] + host[dot + 1 :] if dot >= 0 and b":" not in host[dot + 2 :] else host
