"""Sidecars and gateways beside peers that have none, and what they count: the labels whole, as the rules list them."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.support.backends import Backend, HttpBackend, LoopThread, TcpBackend
from tests.support.bootstraps import Json, bootstrap
from tests.support.certificates import Mesh
from tests.support.istio_config import extension, istio_stats_filter, node
from tests.support.ports import free_port
from tests.support.process import Proxy, sidecar_command, start_proxy, wait_until
from tests.support.prometheus_text import parse

COUNTED_S = 10.0

REQUESTS = "istio_requests_total"
OPENED = "istio_tcp_connections_opened_total"
CLOSED = "istio_tcp_connections_closed_total"
SENT = "istio_tcp_sent_bytes_total"
RECEIVED = "istio_tcp_received_bytes_total"
TCP_METRICS = (OPENED, CLOSED, SENT, RECEIVED)

Labels = dict[str, str]
_B = TypeVar("_B", bound=Backend)


def rule(name: str) -> pytest.MarkDecorator:
    """Puts the name of a rule into the name of the test that shows it."""
    return pytest.mark.parametrize("rule", [name], indirect=True)


# Labels


def side(
    prefix: str,
    *,
    workload: str = "unknown",
    canonical_service: str = "unknown",
    canonical_revision: str = "latest",
    namespace: str = "unknown",
    principal: str = "unknown",
    app: str = "unknown",
    version: str = "unknown",
    cluster: str = "unknown",
) -> Labels:
    """The labels of one side, `source` or `destination`; what is not said is not known."""
    return {
        f"{prefix}_workload": workload,
        f"{prefix}_canonical_service": canonical_service,
        f"{prefix}_canonical_revision": canonical_revision,
        f"{prefix}_workload_namespace": namespace,
        f"{prefix}_principal": principal,
        f"{prefix}_app": app,
        f"{prefix}_version": version,
        f"{prefix}_cluster": cluster,
    }


def of_node(prefix: str, workload: str, *, principal: str = "unknown") -> Labels:
    """The same for the node `workload` of `istio_config.node`."""
    return side(
        prefix,
        workload=f"{workload}-v1",
        canonical_service=workload,
        canonical_revision="v1",
        namespace="default",
        principal=principal,
        app=workload,
        version="v1",
        cluster=f"{workload}-cluster",
    )


def service(host: str = "unknown", name: str = "unknown", namespace: str = "unknown") -> Labels:
    return {
        "destination_service": host,
        "destination_service_name": name,
        "destination_service_namespace": namespace,
    }


def http(code: int = 200, flags: str = "-", policy: str = "unknown") -> Labels:
    return {
        "request_protocol": "http",
        "response_code": str(code),
        "grpc_response_status": "",
        "response_flags": flags,
        "connection_security_policy": policy,
    }


def tcp(flags: str = "-", policy: str = "unknown") -> Labels:
    return {"request_protocol": "tcp", "response_flags": flags, "connection_security_policy": policy}


def series_of(proxy: Proxy, metric: str, **labels: str) -> list[tuple[Labels, float]]:
    """The series of a metric that have all of `labels`."""
    name = metric.removesuffix("_count").removesuffix("_sum")
    family = parse(proxy.admin(f"/stats/prometheus?filter={name}")).get(name)
    samples = (
        [(dict(each.labels), each.value) for each in family.samples if each.name == metric] if family else []
    )
    return [found for found in samples if labels.items() <= found[0].items()]


def wait_for_series(proxy: Proxy, metric: str, expected: Labels, value: float, **among: str) -> None:
    """Until the metric has exactly one series (of those with the labels `among`): this one, with this value."""

    def found() -> list[tuple[Labels, float]]:
        return series_of(proxy, metric, **among)

    try:
        wait_until(lambda: found() == [(expected, value)], timeout_s=COUNTED_S, what=metric)
    except TimeoutError:
        assert found() == [(expected, value)]


def wait_for_tcp(
    proxy: Proxy, expected: Labels, *, sent: int, received: int, connections: int = 1, **among: str
) -> None:
    """Until connections with these labels, and no others, are counted whole."""
    for metric, value in zip(TCP_METRICS, (connections, connections, sent, received), strict=True):
        wait_for_series(proxy, metric, expected, value, **among)


# Configuration


def peer_metadata(*, inbound: bool, skip_external: bool = False, labels: Sequence[str] = ()) -> Json:
    """As istiod writes it: headers first, then discovery."""
    headers: Json = {"istio_headers": {"skip_external_clusters": True} if skip_external else {}}
    methods = [{"istio_headers": {}}, {"workload_discovery": {}}]
    name = "downstream" if inbound else "upstream"
    config: Json = {f"{name}_discovery": methods, f"{name}_propagation": [headers]}
    if labels:
        config["additional_labels"] = list(labels)
    return extension("istio.metadata_exchange", "io.istio.http.peer_metadata.Config", config)


def exchange(labels: Sequence[str] = ()) -> Json:
    """The exchange over TCP, on a listener or on a cluster."""
    config: Json = {"protocol": "istio-peer-exchange", "enable_discovery": True}
    if labels:
        config["additional_labels"] = list(labels)
    return extension("istio.metadata_exchange", "envoy.tcp.metadataexchange.config.MetadataExchange", config)


def stats(**config: Any) -> Json:
    return istio_stats_filter(**config)


def services(host: str, name: str, namespace: str, **more: Any) -> Json:
    """The metadata of a cluster: the service behind it."""
    entry = {"host": host, "name": name, "namespace": namespace}
    return {"metadata": {"filter_metadata": {"istio": {"services": [entry], **more}}}}


def endpoint_workload(cluster: Json, workload: str) -> Json:
    """The cluster, with the metadata that istiod gives an endpoint: `workload;namespace;canonical name;revision;cluster`."""
    for locality in cluster["load_assignment"]["endpoints"]:
        for endpoint in locality["lb_endpoints"]:
            endpoint["metadata"] = {"filter_metadata": {"istio": {"workload": workload}}}
    return cluster


class GapStage:
    """The backends and proxies of one test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mesh = Mesh(directory)
        self._loop = LoopThread()
        self._backends: list[Backend] = []
        self._proxies: list[Proxy] = []

    def http_backend(self, host: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> HttpBackend:
        return self._add(HttpBackend(self._loop).start(host, context=context))

    def tcp_backend(
        self, mode: str = "line_echo", host: str = "127.0.0.1", context: ssl.SSLContext | None = None
    ) -> TcpBackend:
        return self._add(TcpBackend(self._loop, mode, prefix="app").start(host, context=context))

    def _add(self, backend: _B) -> _B:
        self._backends.append(backend)
        return backend

    def write_workloads(self, *workloads: Mapping[str, Any]) -> Path:
        """The file of workloads; to be called before the proxies that know them start."""
        path = self.directory / "workloads.json"
        scratch = path.with_suffix(".new")
        scratch.write_text(json.dumps({"workloads": [dict(each) for each in workloads]}))
        scratch.rename(path)
        return path

    def start(
        self,
        workload: str,
        listeners: Sequence[Json],
        clusters: Sequence[Json],
        *,
        telemetry: Mapping[str, Any] | None = None,
        kind: str = "sidecar",
        metadata: Mapping[str, Any] | None = None,
    ) -> Proxy:
        """Start the proxy of a workload; it knows the workloads of the file, if there is one.

        `metadata` is added to the node's, its labels to the node's labels.
        """
        own_node = node(workload)
        labels = own_node["metadata"]["LABELS"]
        own_node["metadata"] |= dict(metadata or {})
        own_node["metadata"]["LABELS"] = labels | own_node["metadata"]["LABELS"]
        own_node["id"] = f"{kind}~127.0.0.1~{workload}.default~default.svc.cluster.local"
        if telemetry is not None:
            own_node["metadata"]["SIDECAR_TELEMETRY"] = dict(telemetry)
        more: Json = {}
        path = self.directory / "workloads.json"
        if path.exists():
            source = {"path_config_source": {"path": str(path)}}
            config = {
                "@type": "type.googleapis.com/istio.workload.BootstrapExtension",
                "config_source": source,
            }
            more["bootstrap_extensions"] = [
                {"name": "envoy.bootstrap.workload_discovery", "typed_config": config}
            ]
        admin_port = free_port()
        text = bootstrap(admin_port, listeners, clusters, node=own_node, **more)
        proxy = start_proxy(
            sidecar_command(),
            text,
            self.directory,
            admin_port,
            name=workload,
            drain_time_s=0,
            log_level="info",
        )
        self._proxies.append(proxy)
        return proxy

    def close(self) -> None:
        for proxy in self._proxies:
            proxy.terminate()
        for backend in self._backends:
            backend.stop()
        self._loop.close()
        assert not [proxy for proxy in self._proxies if "Traceback" in proxy.log_text()]
