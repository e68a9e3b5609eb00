"""Services that the proxy itself calls: collectors, authorizers, control planes (envoy.config.core.v3)."""

from __future__ import annotations

import msgspec


class GrpcServiceSpec(msgspec.Struct, frozen=True):
    """`GrpcService` with `envoy_grpc`: a cluster that speaks HTTP/2.

    `authority` "": the name of the cluster. `timeout_s` None: calls may take for ever. `max_receive_message_length` in bytes, None:
    the client's own bound. `skip_envoy_headers`: the server is not told that an Envoy asks.
    """

    cluster_name: str
    authority: str = ""
    timeout_s: float | None = None
    initial_metadata: tuple[tuple[str, str], ...] = ()
    max_receive_message_length: int | None = None
    skip_envoy_headers: bool = False


class HttpServiceSpec(msgspec.Struct, frozen=True):
    """`HttpService`: a cluster and where in it. `authority` and `path` come from the URI, `headers` are added to each request."""

    cluster_name: str
    authority: str
    path: str
    timeout_s: float | None
    headers: tuple[tuple[str, str], ...] = ()
