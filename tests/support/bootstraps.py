"""Builders of v3 bootstraps as plain dictionaries: only what several tests need, everything else is written out there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.certificates import LeafFiles

_TYPE = "type.googleapis.com/envoy.extensions."
HTTP_CONNECTION_MANAGER = _TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = _TYPE + "filters.http.router.v3.Router"
TCP_PROXY = _TYPE + "filters.network.tcp_proxy.v3.TcpProxy"
DOWNSTREAM_TLS = _TYPE + "transport_sockets.tls.v3.DownstreamTlsContext"
UPSTREAM_TLS = _TYPE + "transport_sockets.tls.v3.UpstreamTlsContext"
TLS_INSPECTOR = _TYPE + "filters.listener.tls_inspector.v3.TlsInspector"
HTTP_INSPECTOR = _TYPE + "filters.listener.http_inspector.v3.HttpInspector"

Json = dict[str, Any]

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def bootstrap(
    admin_port: int,
    listeners: Sequence[Json] = (),
    clusters: Sequence[Json] = (),
    *,
    node: Mapping[str, Any] | None = None,
    runtime: Mapping[str, Any] | None = None,
    **more: Any,
) -> str:
    """The text (JSON) of a bootstrap with an admin port on 127.0.0.1."""
    config: Json = {
        "node": dict(node) if node is not None else {"id": "test", "cluster": "test"},
        "admin": {"address": address("127.0.0.1", admin_port)},
        "static_resources": {"listeners": list(listeners), "clusters": list(clusters)},
    }
    if runtime:
        config["layered_runtime"] = {"layers": [{"name": "base", "static_layer": dict(runtime)}]}
    config.update(more)
    return json.dumps(config, indent=1)


def cluster(name: str, *endpoints: tuple[str, int], **fields: Any) -> Json:
    """A STATIC cluster; `fields` are added or replace what is here."""
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": address(host, port)}} for host, port in endpoints]}
            ],
        },
        **fields,
    }


def router() -> Json:
    return {"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}


def route_config(*routes: Json, name: str = "local", domains: Sequence[str] = ("*",)) -> Json:
    """A route configuration with one virtual host."""
    return {
        "name": name,
        "virtual_hosts": [{"name": "all", "domains": list(domains), "routes": list(routes)}],
    }


def route_to(cluster_name: str, prefix: str = "/", **route: Any) -> Json:
    """A prefix route; `route` goes into the route action."""
    return {"match": {"prefix": prefix}, "route": {"cluster": cluster_name, **route}}


def http_filter_chain(
    routes: Json, *, stat_prefix: str = "http", http_filters: Sequence[Json] = (), **manager: Any
) -> Json:
    """A filter chain with an HTTP connection manager; the router is added behind `http_filters`."""
    return {
        "filters": [
            {
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": HTTP_CONNECTION_MANAGER,
                    "stat_prefix": stat_prefix,
                    "route_config": routes,
                    "http_filters": [*http_filters, router()],
                    **manager,
                },
            }
        ]
    }


def tcp_filter_chain(cluster_name: str, *, stat_prefix: str = "tcp", **fields: Any) -> Json:
    return {
        "filters": [
            {
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": {
                    "@type": TCP_PROXY,
                    "stat_prefix": stat_prefix,
                    "cluster": cluster_name,
                    **fields,
                },
            }
        ]
    }


def listener(name: str, port: int, *chains: Json, host: str = "127.0.0.1", **fields: Any) -> Json:
    return {"name": name, "address": address(host, port), "filter_chains": list(chains), **fields}


def _common_tls(root: Path | None, leaf: LeafFiles | None, alpn: Sequence[str], sans: Sequence[Json]) -> Json:
    common: Json = {}
    if leaf is not None:
        common["tls_certificates"] = [
            {
                "certificate_chain": {"filename": str(leaf.certificate)},
                "private_key": {"filename": str(leaf.key)},
            }
        ]
    if root is not None:
        common["validation_context"] = {"trusted_ca": {"filename": str(root)}}
        if sans:
            common["validation_context"]["match_typed_subject_alt_names"] = list(sans)
    if alpn:
        common["alpn_protocols"] = list(alpn)
    return common


def uri_san(**matcher: str) -> Json:
    """A matcher of URI names, for example `uri_san(prefix="spiffe://cluster.local/")`."""
    return {"san_type": "URI", "matcher": matcher}


def downstream_tls(
    leaf: LeafFiles,
    root: Path | None,
    *,
    alpn: Sequence[str] = (),
    sans: Sequence[Json] = (),
    require_client_certificate: bool = True,
    **params: Any,
) -> Json:
    """The transport socket of a listener; `params` go into `tls_params`."""
    common = _common_tls(root, leaf, alpn, sans)
    if params:
        common["tls_params"] = params
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": DOWNSTREAM_TLS,
            "common_tls_context": common,
            "require_client_certificate": require_client_certificate,
        },
    }


def upstream_tls(
    leaf: LeafFiles | None,
    root: Path | None,
    *,
    alpn: Sequence[str] = (),
    sans: Sequence[Json] = (),
    sni: str = "",
) -> Json:
    """The transport socket of a cluster."""
    config: Json = {"@type": UPSTREAM_TLS, "common_tls_context": _common_tls(root, leaf, alpn, sans)}
    if sni:
        config["sni"] = sni
    return {"name": "envoy.transport_sockets.tls", "typed_config": config}


def http_options(cluster_fields: Json | None = None, **options: Any) -> Json:
    """The field of a cluster with `typed_extension_protocol_options` for HTTP."""
    typed = {"@type": f"type.googleapis.com/{_HTTP_OPTIONS}", **options}
    return {"typed_extension_protocol_options": {_HTTP_OPTIONS: typed}, **(cluster_fields or {})}
