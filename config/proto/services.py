"""Services that the proxy itself calls (envoy.config.core.v3: GrpcService, HttpService, HttpUri)."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from config.model.core import HeaderValueOption
from config.model.services import GrpcServiceSpec, HttpServiceSpec
from config.proto.core import positive_seconds, translate_header_value_option
from config.proto.fields import declare
from config.proto.path import Path
from config.proto.references import ClusterCheck, check_cluster

_NO_RETRIES: Final = {"retry_policy": "a call does not try again"}

declare(
    "envoy.config.core.v3.GrpcService",
    "envoy_grpc timeout",
    partly={"initial_metadata": "fixed values"},
    ignored=_NO_RETRIES,
    refused={"google_grpc": "use envoy_grpc"},
)
declare(
    "envoy.config.core.v3.GrpcService.EnvoyGrpc",
    "cluster_name authority max_receive_message_length skip_envoy_headers",
    ignored=_NO_RETRIES,
)
declare(
    "envoy.config.core.v3.HttpService",
    "http_uri",
    partly={"request_headers_to_add": "fixed values, each replaces what is there"},
)
declare("envoy.config.core.v3.HttpUri", "uri cluster timeout")


def translate_grpc_service(msg: Any, at: Path) -> GrpcServiceSpec | None:
    """None when it cannot be used, which is reported."""
    if msg.WhichOneof("target_specifier") != "envoy_grpc":
        return None  # google_grpc is refused, nothing is missing: both are reported by the rules
    envoy, envoy_at = msg.envoy_grpc, at.field("envoy_grpc")
    check_cluster(envoy.cluster_name, envoy_at.field("cluster_name"), ClusterCheck.ERROR)
    limit = envoy.max_receive_message_length
    return GrpcServiceSpec(
        envoy.cluster_name,
        envoy.authority,
        positive_seconds(msg, "timeout", None, at),
        tuple(
            (item.key.lower(), _fixed(item.value, at.item("initial_metadata", index).field("value")))
            for index, item in enumerate(msg.initial_metadata)
        ),
        limit.value or None if envoy.HasField("max_receive_message_length") else None,
        envoy.skip_envoy_headers,
    )


def translate_http_service(msg: Any, at: Path) -> HttpServiceSpec:
    uri_at = at.field("http_uri")
    uri = urlsplit(msg.http_uri.uri)
    if uri.scheme not in ("http", "https") or not uri.netloc:
        uri_at.field("uri").error(f"not a URI of HTTP: '{msg.http_uri.uri}'")
    check_cluster(msg.http_uri.cluster, uri_at.field("cluster"), ClusterCheck.ERROR)
    options: list[HeaderValueOption] = []
    for index, item in enumerate(msg.request_headers_to_add):
        item_at = at.item("request_headers_to_add", index)
        options.append(translate_header_value_option(item, item_at))
        _fixed(options[-1].value, item_at.field("header").field("value"))
    return HttpServiceSpec(
        msg.http_uri.cluster,
        uri.netloc,
        (uri.path or "/") + (f"?{uri.query}" if uri.query else ""),
        positive_seconds(msg.http_uri, "timeout", None, uri_at),
        tuple((option.key, option.value.replace("%%", "%")) for option in options),
    )


def _fixed(value: str, at: Path) -> str:
    """A value that does not depend on a request. `%%` stands for a percent sign."""
    if "%" in value.replace("%%", ""):
        at.error("refused: command operators are not supported here")
    return value.replace("%%", "%")
