"""From a workload file to the bootstrap it stands for: the listeners, clusters and filters of an Istio sidecar."""

from __future__ import annotations

import posixpath
from typing import Final, TypeAlias

from config.workload import Endpoint, Identity, Inbound, Outbound, Workload

Json: TypeAlias = dict[str, object]

_EXTENSIONS: Final = "type.googleapis.com/envoy.extensions."
_MESH_ALPN: Final = ["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"]
#: What a sidecar offers instead of the cluster's ALPN list when it speaks HTTP.
_ALPN_OVERRIDES: Final = [
    {"upstream_protocol": "HTTP10", "alpn_override": ["istio-http/1.0", "istio", "http/1.0"]},
    {"upstream_protocol": "HTTP11", "alpn_override": ["istio-http/1.1", "istio", "http/1.1"]},
    {"upstream_protocol": "HTTP2", "alpn_override": ["istio-h2", "istio", "h2"]},
]
_CIPHERS: Final = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
]
#: Istio's rules: names of clusters and connection managers end in `;`, because they hold dots themselves.
_STATS_TAGS: Final = [
    {"tag_name": "cluster_name", "regex": r"^cluster\.((.+?);\.)"},
    {"tag_name": "http_conn_manager_prefix", "regex": r"^http\.((.+?);\.)"},
    {"tag_name": "tcp_prefix", "regex": r"^tcp\.((.*?)\.)\w+?$"},
    {"tag_name": "response_code", "regex": r"_rq(_(\d{3}))$"},
    {"tag_name": "response_code_class", "regex": r"_rq(_(\dxx))$"},
    {"tag_name": "http_conn_manager_listener_prefix", "regex": r"^listener\..*?\.http\.((.+?);\.)"},
    {
        "tag_name": "listener_address",
        "regex": r"^listener\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)",
    },
]
_MESH_VERSION: Final = "1.28.0"


def expand(workload: Workload, directory: str = "") -> Json:
    """The bootstrap in proto-JSON. Certificates are looked for in `directory` when their names are relative."""
    return _Expansion(workload, directory).bootstrap()


class _Expansion:
    def __init__(self, workload: Workload, directory: str) -> None:
        self._workload = workload
        self._directory = directory

    def bootstrap(self) -> Json:
        workload = self._workload
        clusters = [
            *(self._inbound_cluster(each) for each in workload.inbound),
            *(self._outbound_cluster(each) for each in workload.outbound),
        ]
        bootstrap: Json = {
            "stats_config": {"use_all_default_tags": False, "stats_tags": _STATS_TAGS},
            "node": {
                "id": workload.node_id,
                "cluster": workload.canonical_name,
                "metadata": self._node_metadata(),
            },
            "static_resources": {
                "listeners": [
                    *(self._inbound_listener(each) for each in workload.inbound),
                    *(self._outbound_listener(each) for each in workload.outbound),
                ],
                "clusters": list({str(each["name"]): each for each in clusters}.values()),
            },
        }
        if workload.workload_discovery:
            bootstrap["bootstrap_extensions"] = [self._workload_discovery()]
        if workload.admin is not None:
            bootstrap["admin"] = {"address": _address(workload.admin)}
        return bootstrap

    def _workload_discovery(self) -> Json:
        source = {"path_config_source": {"path": self._file(self._workload.workload_discovery)}}
        return {
            "name": "envoy.bootstrap.workload_discovery",
            "typed_config": {
                "@type": "type.googleapis.com/istio.workload.BootstrapExtension",
                "config_source": source,
            },
        }

    def _node_metadata(self) -> Json:
        workload = self._workload
        return {
            "NAME": workload.name,
            "NAMESPACE": workload.namespace,
            "WORKLOAD_NAME": workload.name,
            "CLUSTER_ID": workload.cluster,
            "ISTIO_VERSION": _MESH_VERSION,
            "OWNER": f"kubernetes://apis/apps/v1/namespaces/{workload.namespace}/deployments/{workload.name}",
            "LABELS": {
                **workload.labels,
                "service.istio.io/canonical-name": workload.canonical_name,
                "service.istio.io/canonical-revision": workload.canonical_revision,
            },
        }

    # inbound

    def _inbound_listener(self, inbound: Inbound) -> Json:
        return {
            "name": f"inbound_{inbound.listen}",
            "traffic_direction": "INBOUND",
            "address": _address(inbound.listen),
            "listener_filters": [
                {
                    "name": "envoy.filters.listener.tls_inspector",
                    "typed_config": {"@type": f"{_EXTENSIONS}filters.listener.tls_inspector.v3.TlsInspector"},
                }
            ],
            "filter_chains": self._inbound_chains(inbound),
        }

    def _inbound_chains(self, inbound: Inbound) -> list[Json]:
        filters = self._inbound_filters(inbound)
        identity = self._workload.identity
        mode = inbound.mtls or ("strict" if identity is not None else "disabled")
        plain: Json = {
            "name": "plaintext",
            "filter_chain_match": {"transport_protocol": "raw_buffer"},
            "filters": filters,
        }
        if mode == "disabled" or identity is None:
            return [plain]
        match: Json = {"transport_protocol": "tls"}
        if mode == "permissive":
            match["application_protocols"] = _MESH_ALPN
        mtls: Json = {
            "name": "mtls",
            "filter_chain_match": match,
            "filters": filters,
            "transport_socket": self._server_tls(identity, inbound.protocol),
        }
        return [mtls, plain] if mode == "permissive" else [mtls]

    def _inbound_filters(self, inbound: Inbound) -> list[Json]:
        cluster = self._inbound_name(inbound)
        exchange: Json = {"name": "istio.metadata_exchange", "typed_config": _metadata_exchange()}
        if inbound.protocol == "tcp":
            return [
                exchange,
                *_tcp_filters(f"inbound_{inbound.listen.port}", cluster, self._access_log()),
            ]
        return [
            exchange,
            self._connection_manager(
                stat_prefix=f"inbound_{inbound.listen.port};",
                route=cluster,
                cluster=cluster,
                filters=[
                    _peer_metadata("downstream"),
                    _grpc_stats(),
                    _stats(disable_host_header_fallback=True),
                ],
                extra={
                    "server_name": "istio-envoy",
                    "forward_client_cert_details": "APPEND_FORWARD",
                    "set_current_client_cert_details": {"subject": True, "uri": True, "dns": True},
                },
            ),
        ]

    def _inbound_cluster(self, inbound: Inbound) -> Json:
        workload = self._workload
        service = inbound.service or f"{workload.canonical_name}.{workload.namespace}.svc.cluster.local"
        return {
            **_cluster(self._inbound_name(inbound), (inbound.application,)),
            **_protocol_options(_INBOUND_PROTOCOLS.get(inbound.protocol)),
            "metadata": _service_metadata(service, workload.namespace),
        }

    def _inbound_name(self, inbound: Inbound) -> str:
        """As Istio names it; with more of it where entries that share an application's port are not reached alike.

        With the service too, if that differs; with the address of the listener in the place of the subset, if they are
        reached by other protocols or at other addresses.
        """
        port = inbound.application.port
        sharing = [each for each in self._workload.inbound if each.application.port == port]
        service = inbound.service if len({each.service for each in sharing}) > 1 else ""
        ways = {(each.application, each.protocol) for each in sharing if each.service == inbound.service}
        subset = f"{inbound.listen.host}_{inbound.listen.port}" if len(ways) > 1 else ""
        return f"inbound|{port}|{subset}|{service}"

    # outbound

    def _outbound_listener(self, outbound: Outbound) -> Json:
        name = self._outbound_name(outbound)
        if outbound.protocol == "tcp":
            filters = _tcp_filters(f"outbound_{outbound.listen.port}", name, self._access_log())
        else:
            alpn: Json = {
                "name": "istio.alpn",
                "typed_config": {
                    "@type": "type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
                    "alpn_override": _ALPN_OVERRIDES,
                },
            }
            filters = [
                self._connection_manager(
                    stat_prefix=f"outbound_{outbound.listen.port};",
                    route=outbound.service,
                    cluster=name,
                    filters=[_peer_metadata("upstream"), _grpc_stats(), alpn, _stats()],
                    extra={},
                )
            ]
        return {
            "name": f"outbound_{outbound.listen}",
            "traffic_direction": "OUTBOUND",
            "address": _address(outbound.listen),
            "filter_chains": [{"filters": filters}],
        }

    def _outbound_cluster(self, outbound: Outbound) -> Json:
        cluster: Json = {
            **_cluster(self._outbound_name(outbound), outbound.endpoints),
            **_protocol_options(_OUTBOUND_PROTOCOLS.get(outbound.protocol)),
            "metadata": _service_metadata(outbound.service, self._workload.namespace),
            "filters": [{"name": "istio.metadata_exchange", "typed_config": _metadata_exchange()}],
        }
        identity = self._workload.identity
        if identity is not None and outbound.mtls:
            cluster["transport_socket"] = self._client_tls(identity, outbound)
        return cluster

    def _outbound_name(self, outbound: Outbound) -> str:
        """As Istio names it; with the address in the place of the subset where a service has two on one port."""
        same = [
            each
            for each in self._workload.outbound
            if (each.service, each.listen.port) == (outbound.service, outbound.listen.port)
        ]
        subset = outbound.listen.host if len(same) > 1 else ""
        return f"outbound|{outbound.listen.port}|{subset}|{outbound.service}"

    # shared pieces

    def _connection_manager(
        self, *, stat_prefix: str, route: str, cluster: str, filters: list[Json], extra: Json
    ) -> Json:
        manager: Json = {
            "@type": f"{_EXTENSIONS}filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": stat_prefix,
            "codec_type": "AUTO",
            "normalize_path": True,
            "stream_idle_timeout": "0s",
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "http2_protocol_options": {"allow_connect": True},
            **extra,
            "route_config": {
                "name": route,
                "virtual_hosts": [
                    {
                        "name": route,
                        "domains": ["*"],
                        "routes": [
                            {
                                "name": "default",
                                "match": {"prefix": "/"},
                                "route": {
                                    "cluster": cluster,
                                    "timeout": "0s",
                                    "max_stream_duration": {
                                        "max_stream_duration": "0s",
                                        "grpc_timeout_header_max": "0s",
                                    },
                                },
                            }
                        ],
                    }
                ],
            },
            "http_filters": [
                *filters,
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": f"{_EXTENSIONS}filters.http.router.v3.Router"},
                },
            ],
        }
        access_log = self._access_log()
        if access_log:
            manager["access_log"] = access_log
        return {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}

    def _access_log(self) -> list[Json]:
        workload = self._workload
        if not workload.access_log:
            return []
        log: Json = {
            "@type": f"{_EXTENSIONS}access_loggers.file.v3.FileAccessLog",
            "path": self._file(workload.access_log),
        }
        if workload.access_log_format:
            log["log_format"] = {"text_format_source": {"inline_string": workload.access_log_format + "\n"}}
        return [{"name": "envoy.access_loggers.file", "typed_config": log}]

    def _file(self, name: str) -> str:
        return posixpath.join(self._directory, name)

    def _certificates(self, identity: Identity) -> Json:
        return {
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_2",
                "tls_maximum_protocol_version": "TLSv1_3",
                "cipher_suites": _CIPHERS,
            },
            "tls_certificates": [
                {
                    "certificate_chain": {"filename": self._file(identity.certificate)},
                    "private_key": {"filename": self._file(identity.private_key)},
                }
            ],
        }

    def _server_tls(self, identity: Identity, protocol: str) -> Json:
        alpn = ["h2", "http/1.1"]
        if protocol == "tcp":
            alpn.insert(0, "istio-peer-exchange")
        names: Json = {"san_type": "URI", "matcher": {"prefix": f"spiffe://{self._workload.trust_domain}/"}}
        return {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{_EXTENSIONS}transport_sockets.tls.v3.DownstreamTlsContext",
                "require_client_certificate": True,
                "common_tls_context": {
                    **self._certificates(identity),
                    "alpn_protocols": alpn,
                    "validation_context": {
                        "trusted_ca": {"filename": self._file(identity.ca)},
                        "match_typed_subject_alt_names": [names],
                    },
                },
            },
        }

    def _client_tls(self, identity: Identity, outbound: Outbound) -> Json:
        names: list[Json] = [{"san_type": "URI", "matcher": {"exact": each}} for each in outbound.identities]
        if not names:
            names = [{"san_type": "URI", "matcher": {"prefix": f"spiffe://{self._workload.trust_domain}/"}}]
        return {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{_EXTENSIONS}transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": f"outbound_.{outbound.listen.port}_._.{outbound.service}",
                "common_tls_context": {
                    **self._certificates(identity),
                    "alpn_protocols": ["istio-peer-exchange", "istio"],
                    "validation_context": {
                        "trusted_ca": {"filename": self._file(identity.ca)},
                        "match_typed_subject_alt_names": names,
                    },
                },
            },
        }


def _address(endpoint: Endpoint) -> Json:
    return {"socket_address": {"address": endpoint.host, "port_value": endpoint.port}}


def _cluster(name: str, endpoints: tuple[Endpoint, ...]) -> Json:
    """What all clusters have. The `;` behind the stat name is what the tag rules look for."""
    return {
        "name": name,
        "alt_stat_name": f"{name};",
        "type": "STATIC" if all(each.is_ip for each in endpoints) else "STRICT_DNS",
        "connect_timeout": "10s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": _address(each)}} for each in endpoints]}
            ],
        },
    }


def _service_metadata(service: str, namespace: str) -> Json:
    """`istio.services`: what names the destination in metrics."""
    name, _, rest = service.partition(".")
    entry = {"host": service, "name": name, "namespace": rest.partition(".")[0] or namespace}
    return {"filter_metadata": {"istio": {"services": [entry]}}}


def _typed_struct(type_name: str, value: Json) -> Json:
    return {
        "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
        "type_url": f"type.googleapis.com/{type_name}",
        "value": value,
    }


def _metadata_exchange() -> Json:
    return _typed_struct(
        "envoy.tcp.metadataexchange.config.MetadataExchange",
        {"protocol": "istio-peer-exchange", "enable_discovery": True},
    )


def _peer_metadata(side: str) -> Json:
    headers: Json = {"istio_headers": {}}
    return {
        "name": "istio.metadata_exchange",
        "typed_config": _typed_struct(
            "io.istio.http.peer_metadata.Config",
            {
                f"{side}_discovery": [headers, {"workload_discovery": {}}],
                f"{side}_propagation": [headers],
            },
        ),
    }


def _grpc_stats() -> Json:
    """As Istio installs it: it counts messages for the metrics filter, and keeps no statistics for each method."""
    return {
        "name": "envoy.filters.http.grpc_stats",
        "typed_config": {
            "@type": f"{_EXTENSIONS}filters.http.grpc_stats.v3.FilterConfig",
            "emit_filter_state": True,
            "stats_for_all_methods": False,
        },
    }


#: The application speaks what its port is said to speak.
_INBOUND_PROTOCOLS: Final[dict[str, Json]] = {
    "http2": {"explicit_http_config": {"http2_protocol_options": {"allow_connect": True}}},
    "grpc": {"explicit_http_config": {"http2_protocol_options": {"allow_connect": True}}},
}
#: Between sidecars the client's protocol goes on, unless it is known.
_OUTBOUND_PROTOCOLS: Final[dict[str, Json]] = {
    **_INBOUND_PROTOCOLS,
    "http": {
        "use_downstream_protocol_config": {
            "http_protocol_options": {},
            "http2_protocol_options": {"allow_connect": True},
        }
    },
}


def _protocol_options(options: Json | None) -> Json:
    if options is None:
        return {}
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {"typed_extension_protocol_options": {name: {"@type": f"type.googleapis.com/{name}", **options}}}


def _stats(disable_host_header_fallback: bool = False) -> Json:
    value: Json = {"disable_host_header_fallback": True} if disable_host_header_fallback else {}
    return {
        "name": "istio.stats",
        "typed_config": {"@type": "type.googleapis.com/stats.PluginConfig", **value},
    }


def _tcp_filters(stat_prefix: str, cluster: str, access_log: list[Json]) -> list[Json]:
    proxy: Json = {
        "@type": f"{_EXTENSIONS}filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": stat_prefix,
        "cluster": cluster,
    }
    if access_log:
        proxy["access_log"] = access_log
    return [_stats(), {"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]
