"""Where a redirect points: RedirectAction and the TLS requirement of a virtual host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from config.model.route import RedirectAction
from protocols.http.headers import Headers
from sidecar.http.path_rewrite import PathRewrite, compile_path_rewrite
from sidecar.policy.matching import encode_text

_DEFAULT_PORTS: Final[Mapping[bytes | None, bytes]] = {b"https": b":443", b"http": b":80"}


class Redirect:
    """A compiled RedirectAction. What it does not name is taken from the request."""

    __slots__ = (
        "_host",
        "_path",
        "_path_has_query",
        "_port",
        "_rewrite",
        "_scheme",
        "_strip_query",
    )

    def __init__(self, spec: RedirectAction, matched_prefix: bytes | None) -> None:
        """`matched_prefix`: the part of the path that `prefix_rewrite` replaces, None for the whole path."""
        self._scheme = b"https" if spec.https_redirect else encode_text(spec.scheme_redirect)
        self._host = encode_text(spec.host_redirect)
        self._port = b":%d" % spec.port_redirect if spec.port_redirect else b""
        self._path = encode_text(spec.path_redirect)
        self._path_has_query = b"?" in self._path
        self._strip_query = spec.strip_query
        self._rewrite: PathRewrite | None = compile_path_rewrite(
            spec.prefix_rewrite or "", spec.regex_rewrite, matched_prefix
        )

    def location(self, headers: Headers) -> bytes:
        """The value of `location`."""
        scheme = self._scheme or headers.scheme
        host = self._host or _request_host(headers, scheme, bool(self._port))
        return b"%b://%b%b%b" % (scheme, host, self._port, self._target(headers))

    def _target(self, headers: Headers) -> bytes:
        if self._path:
            if self._path_has_query:  # its own query wins, and `strip_query` does not touch it
                return self._path
            _, mark, query = headers.path.partition(b"?")
            return self._path if self._strip_query or not mark else self._path + mark + query
        target = self._rewrite(headers.path) if self._rewrite is not None else headers.path
        return target.partition(b"?")[0] if self._strip_query else target


def _request_host(headers: Headers, scheme: bytes, new_port: bool) -> bytes:
    """The request's own host, without its port if that is replaced or is the default one of a scheme that changes."""
    host = headers.authority
    if host.startswith(b"["):
        end = host.rfind(b"]:")
        colon = end + 1 if end >= 0 else -1
    else:
        colon = host.rfind(b":")
    if colon < 0:
        return host
    if new_port:
        return host[:colon]
    protocol = headers.get(b"x-forwarded-proto")
    if scheme != protocol and _DEFAULT_PORTS.get(protocol) == host[colon:]:
        return host[:colon]
    return host


def tls_location(headers: Headers) -> bytes:
    """Where a virtual host that requires TLS sends a plaintext request."""
    return b"https://%b%b" % (headers.authority, headers.path)
