"""`/listeners`: who listens where, as text and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.model.core import Address, InternalAddress, PipeAddress, SocketAddress
from sidecar.main.admin.api import AdminRequest, AdminResponse, Endpoint, json_response

if TYPE_CHECKING:
    from sidecar.listener.listener import ListenerSet


def address_json(address: Address) -> dict[str, object]:
    """`envoy.config.core.v3.Address` in proto-JSON."""
    match address:
        case SocketAddress(host, port):
            return {"socket_address": {"address": host, "port_value": port}}
        case PipeAddress(path, _):
            return {"pipe": {"path": path}}
        case InternalAddress(listener, endpoint_id):
            return {"envoy_internal_address": {"server_listener_name": listener, "endpoint_id": endpoint_id}}


def endpoints(listeners: ListenerSet) -> list[Endpoint]:
    def show(request: AdminRequest) -> AdminResponse:
        if request.query.get("format") == "json":
            return json_response(
                {"listener_statuses": [_status(each.name, each.local_addresses) for each in listeners]}
            )
        return AdminResponse(
            "".join(f"{each.name}::{address}\n" for each in listeners for address in each.local_addresses)
        )

    return [
        Endpoint("/listeners", "print listener info", show, parameters={"format": "text (default) or json"})
    ]


def _status(name: str, addresses: list[Address]) -> dict[str, object]:
    status: dict[str, object] = {"name": name, "local_address": address_json(addresses[0])}
    if len(addresses) > 1:
        status["additional_local_addresses"] = [address_json(each) for each in addresses[1:]]
    return status
