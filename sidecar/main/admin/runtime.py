"""`/runtime`: the values of each layer; `/runtime_modify`: refused, since they are compiled into what was configured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sidecar.main.admin.api import AdminRequest, AdminResponse, Endpoint, json_response

if TYPE_CHECKING:
    from config.bootstrap import ParsedBootstrap


def endpoints(parsed: ParsedBootstrap) -> list[Endpoint]:
    def show(request: AdminRequest) -> AdminResponse:
        return json_response(_runtime(parsed))

    def modify(request: AdminRequest) -> AdminResponse:
        return AdminResponse(
            "Runtime values are fixed when the process starts; set them in layered_runtime.\n", 503
        )

    return [
        Endpoint("/runtime", "print runtime values", show),
        Endpoint("/runtime_modify", "refused: runtime values are fixed at the start", modify, mutates=True),
    ]


def _runtime(parsed: ParsedBootstrap) -> dict[str, object]:
    from google.protobuf import json_format  # nothing else needs it

    message: Any = parsed.message
    layers: list[tuple[str, dict[str, str]]] = []
    for layer in message.layered_runtime.layers:
        values: Any = json_format.MessageToDict(layer.static_layer) if layer.HasField("static_layer") else {}
        layers.append((layer.name, dict(_flattened("", values))))
    keys = sorted({key for _, values in layers for key in values})
    return {
        "layers": [name for name, _ in layers],
        "entries": {key: _entry([values.get(key, "") for _, values in layers]) for key in keys},
    }


def _entry(values: list[str]) -> dict[str, object]:
    """The last layer that has the key counts."""
    return {"layer_values": values, "final_value": next((each for each in reversed(values) if each), "")}


def _flattened(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """`{"a": {"b": 1}}` is the key `a.b`."""
    for name, value in values.items():
        if isinstance(value, dict) and "numerator" not in value:
            yield from _flattened(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", _text(value)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
