"""`/config_dump`: what is in force, in the shape that istioctl and people know; private keys are redacted."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import re2
from google.protobuf import json_format

from config.bootstrap import redact
from sidecar.main.admin.api import AdminRequest, AdminResponse, Endpoint, json_response
from sidecar.main.admin.lifecycle import node

if TYPE_CHECKING:
    from sidecar.main.process import Process

_ADMIN: Final = "type.googleapis.com/envoy.admin.v3."
_CORE: Final = "type.googleapis.com/envoy.config."


def endpoints(process: Process) -> list[Endpoint]:
    updated = datetime.fromtimestamp(process.started_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"

    def dump(request: AdminRequest) -> AdminResponse:
        sections = _sections(process, updated, include_eds=request.flag("include_eds"))
        resource = request.query.get("resource")
        if resource is not None:
            return _one_resource(sections, resource, request.query.get("name_regex"))
        if "name_regex" in request.query:
            return _filtered(sections, request.query["name_regex"])
        return json_response({"configs": sections})

    return [
        Endpoint(
            "/config_dump",
            "dump the configuration in force",
            dump,
            parameters={
                "resource": "only the entries of this repeated field, for example static_clusters",
                "name_regex": "only entries whose name matches (RE2)",
                "include_eds": "endpoints too",
            },
        )
    ]


def _message(message: Any) -> dict[str, Any]:
    value: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return value


def _sections(process: Process, updated: str, *, include_eds: bool) -> list[dict[str, Any]]:
    bootstrap = redact(process.parsed.message)
    resources = bootstrap.static_resources
    shown = _message(bootstrap)
    shown["node"] = {**shown.get("node", {}), **node(process)}
    sections: list[dict[str, Any]] = [
        {"@type": f"{_ADMIN}BootstrapConfigDump", "bootstrap": shown, "last_updated": updated},
        {
            "@type": f"{_ADMIN}ClustersConfigDump",
            "static_clusters": _entries(resources.clusters, "cluster", "cluster.v3.Cluster", updated),
        },
    ]
    if include_eds:
        sections.append(
            {"@type": f"{_ADMIN}EndpointsConfigDump", "static_endpoint_configs": _endpoints(resources)}
        )
    sections += [
        {
            "@type": f"{_ADMIN}ListenersConfigDump",
            "static_listeners": _entries(resources.listeners, "listener", "listener.v3.Listener", updated),
        },
        {"@type": f"{_ADMIN}ScopedRoutesConfigDump"},
        {"@type": f"{_ADMIN}RoutesConfigDump", "static_route_configs": _routes(shown, updated)},
        {"@type": f"{_ADMIN}SecretsConfigDump", "static_secrets": _secrets(resources.secrets, updated)},
    ]
    return [{key: value for key, value in section.items() if value != []} for section in sections]


def _entries(messages: Iterable[Any], field: str, type_name: str, updated: str) -> list[dict[str, Any]]:
    return [
        {field: {"@type": f"{_CORE}{type_name}", **_message(message)}, "last_updated": updated}
        for message in messages
    ]


def _endpoints(resources: Any) -> list[dict[str, Any]]:
    return [
        {
            "endpoint_config": {
                "@type": f"{_CORE}endpoint.v3.ClusterLoadAssignment",
                **_message(cluster.load_assignment),
            }
        }
        for cluster in resources.clusters
        if cluster.HasField("load_assignment")
    ]


def _secrets(messages: Iterable[Any], updated: str) -> list[dict[str, Any]]:
    return [
        {
            "name": message.name,
            "last_updated": updated,
            "secret": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
                **_message(message),
            },
        }
        for message in messages
    ]


def _routes(shown: Any, updated: str) -> list[dict[str, Any]]:
    """The route configurations given in place, wherever a connection manager stands."""
    found: list[dict[str, Any]] = []

    def search(value: Any) -> None:
        if isinstance(value, dict):
            route_config = value.get("route_config")
            if isinstance(route_config, dict) and "virtual_hosts" in route_config:
                found.append(
                    {
                        "route_config": {"@type": f"{_CORE}route.v3.RouteConfiguration", **route_config},
                        "last_updated": updated,
                    }
                )
            for each in value.values():
                search(each)
        elif isinstance(value, list):
            for each in value:
                search(each)

    search(shown.get("static_resources", {}).get("listeners", []))
    return found


def _name(entry: dict[str, Any]) -> str:
    for field in ("cluster", "listener", "route_config", "endpoint_config"):
        inner = entry.get(field)
        if isinstance(inner, dict):
            return str(inner.get("name", inner.get("cluster_name", "")))
    return str(entry.get("name", ""))


def _one_resource(sections: list[dict[str, Any]], resource: str, name_regex: str | None) -> AdminResponse:
    for section in sections:
        if resource in section and isinstance(section[resource], list):
            entries = [
                {"@type": f"{section['@type']}.{_ENTRY_TYPES.get(resource, resource)}", **entry}
                for entry in section[resource]
                if name_regex is None or re2.search(name_regex, _name(entry))
            ]
            return json_response({"configs": entries})
    return AdminResponse(f"{resource} not found in config dump", 404)


_ENTRY_TYPES: Final = {
    "static_clusters": "StaticCluster",
    "static_listeners": "StaticListener",
    "static_route_configs": "StaticRouteConfig",
    "static_secrets": "StaticSecret",
    "static_endpoint_configs": "StaticEndpointConfig",
}


def _filtered(sections: list[dict[str, Any]], name_regex: str) -> AdminResponse:
    try:
        pattern = re2.compile(name_regex)
    except re2.error as error:
        return AdminResponse(f"Error: invalid regex in name_regex: {error}\n", 400)
    shown = [
        {
            key: [entry for entry in value if pattern.search(_name(entry))]
            if isinstance(value, list)
            else value
            for key, value in section.items()
        }
        for section in sections
    ]
    return json_response({"configs": shown})
