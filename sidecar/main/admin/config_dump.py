"""`/config_dump`: what is in force, in the shape that istioctl and people know; private keys are redacted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import re2
from google.protobuf import json_format

from config.bootstrap import redact
from sidecar.main.admin.api import AdminRequest, AdminResponse, Endpoint, compile_pattern, json_response
from sidecar.main.admin.endpoints import endpoint_configs
from sidecar.main.admin.lifecycle import node

if TYPE_CHECKING:
    from config.bootstrap import ParsedBootstrap
    from sidecar.worker.process import Process

_ADMIN: Final = "type.googleapis.com/envoy.admin.v3."
_CORE: Final = "type.googleapis.com/envoy.config."


def endpoint(process: Process, parsed: ParsedBootstrap) -> Endpoint:
    updated = datetime.fromtimestamp(process.started_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"

    def dump(request: AdminRequest) -> AdminResponse:
        keep = _everything
        if "name_regex" in request.query:
            text = request.query["name_regex"]
            try:
                pattern = compile_pattern(text)
            except re2.error as error:
                return AdminResponse(
                    f"INVALID_ARGUMENT: Error while parsing name_regex from {text}: {_reason(error)}", 400
                )
            keep = lambda entry: pattern.search(_name(entry)) is not None  # noqa: E731
        sections = _sections(process, parsed, updated, include_eds=request.flag("include_eds"))
        mask = [path.split(".") for path in request.query.get("mask", "").split(",") if path]
        resource = request.query.get("resource")
        if resource is not None:
            return _one_resource(sections, resource, keep, mask)
        shown = [_filtered(section, keep) for section in sections]
        if mask:
            shown = [masked for section in shown if len(masked := _masked(section, mask)) > 1]
        return json_response({"configs": shown})

    return Endpoint(
        "/config_dump",
        "dump the configuration in force",
        dump,
        parameters={
            "resource": "only the entries of this repeated field, for example static_clusters",
            "mask": "only these fields, separated by commas: of the sections, or of each entry of the resource",
            "name_regex": "only entries whose name matches (RE2)",
            "include_eds": "endpoints too",
        },
    )


def _everything(entry: dict[str, Any]) -> bool:
    return True


def _reason(error: Exception) -> str:
    """What RE2 says; the binding gives it as bytes."""
    text = error.args[0] if error.args else ""
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)


def _message(message: Any) -> dict[str, Any]:
    value: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return value


def _sections(
    process: Process, parsed: ParsedBootstrap, updated: str, *, include_eds: bool
) -> list[dict[str, Any]]:
    bootstrap: Any = redact(parsed.message)
    resources = bootstrap.static_resources
    shown = _message(bootstrap)
    shown["node"] = {**shown.get("node", {}), **node(process)}
    clusters = sorted(resources.clusters, key=lambda cluster: str(cluster.name))
    sections: list[dict[str, Any]] = [
        {"@type": f"{_ADMIN}BootstrapConfigDump", "bootstrap": shown, "last_updated": updated},
        {
            "@type": f"{_ADMIN}ClustersConfigDump",
            "static_clusters": _entries(clusters, "cluster", "cluster.v3.Cluster", updated),
        },
    ]
    if include_eds:
        sections.append(
            {"@type": f"{_ADMIN}EndpointsConfigDump", "static_endpoint_configs": endpoint_configs(process)}
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


#: The repeated fields of the sections, and what their entries are called.
_ENTRY_TYPES: Final = {
    "static_clusters": "ClustersConfigDump.StaticCluster",
    "static_listeners": "ListenersConfigDump.StaticListener",
    "static_route_configs": "RoutesConfigDump.StaticRouteConfig",
    "static_secrets": "SecretsConfigDump.StaticSecret",
    "static_endpoint_configs": "EndpointsConfigDump.StaticEndpointConfig",
}
#: Those that only a control plane fills.
_DYNAMIC: Final = frozenset(
    {
        "dynamic_active_clusters",
        "dynamic_warming_clusters",
        "dynamic_listeners",
        "dynamic_route_configs",
        "dynamic_active_secrets",
        "dynamic_warming_secrets",
        "dynamic_endpoint_configs",
        "dynamic_scoped_route_configs",
        "inline_scoped_route_configs",
    }
)
_SINGLE: Final = frozenset({"bootstrap", "last_updated", "version_info"})

_Keep = Callable[[dict[str, Any]], bool]
_Mask = Sequence[Sequence[str]]


def _one_resource(sections: list[dict[str, Any]], resource: str, keep: _Keep, mask: _Mask) -> AdminResponse:
    if resource in _SINGLE:
        return AdminResponse(
            f"{resource} is not a repeated field. Use ?mask={resource} to get only this field", 400
        )
    if resource not in _ENTRY_TYPES:
        if resource in _DYNAMIC:
            return json_response({})
        return AdminResponse(f"{resource} not found in config dump", 404)
    entries = [
        {"@type": f"{_ADMIN}{_ENTRY_TYPES[resource]}", **entry}
        for section in sections
        for entry in section.get(resource, [])
        if keep(entry)
    ]
    if mask:
        entries = [_masked(entry, mask) for entry in entries]
    return json_response({"configs": entries} if entries else {})


def _filtered(section: dict[str, Any], keep: _Keep) -> dict[str, Any]:
    return {
        key: [entry for entry in value if keep(entry)] if isinstance(value, list) else value
        for key, value in section.items()
    }


def _masked(value: Any, mask: _Mask) -> Any:
    """What a protobuf FieldMask leaves: the named fields with all that is in them. Types stay."""
    if not isinstance(value, dict):
        return value
    shown = {"@type": value["@type"]} if "@type" in value else {}
    for first, *rest in mask:
        if first in value:
            inner = value[first]
            shown[first] = (
                _masked({**shown.get(first, {}), **inner}, [rest])
                if rest and isinstance(inner, dict)
                else inner
            )
    return shown
