"""The format of a log as configured: text or JSON."""

from __future__ import annotations

from config.model.access_log import JsonFormat, LogFormat
from config.model.core import Node
from sidecar.telemetry.access_log.format import DEFAULT_FORMAT, MISSING, compile_format
from sidecar.telemetry.access_log.json_format import compile_json_format
from sidecar.telemetry.access_log.renderer import Renderer


def compile_log_format(spec: LogFormat | None, node: Node | None = None) -> Renderer:
    """The renderer of a whole entry; None is Envoy's default format. `node`: see `compile_format`. Raises FormatError."""
    if spec is None:
        return compile_format(DEFAULT_FORMAT)
    if isinstance(spec, JsonFormat):
        return compile_json_format(
            spec.fields, omit_empty=spec.omit_empty, extensions=spec.extensions, node=node
        )
    missing = b"" if spec.omit_empty else MISSING
    return compile_format(spec.text, missing=missing, extensions=spec.extensions, node=node)
