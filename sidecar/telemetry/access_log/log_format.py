"""The format of a log as configured: text or JSON."""

from __future__ import annotations

from config.model.access_log import JsonFormat, LogFormat
from sidecar.telemetry.access_log.format import DEFAULT_FORMAT, MISSING, Renderer, compile_format
from sidecar.telemetry.access_log.json_format import compile_json_format


def compile_log_format(spec: LogFormat | None) -> Renderer:
    """The renderer of a whole entry; None is Envoy's default format. Raises FormatError."""
    if spec is None:
        return compile_format(DEFAULT_FORMAT)
    if isinstance(spec, JsonFormat):
        return compile_json_format(spec.fields, omit_empty=spec.omit_empty, extensions=spec.extensions)
    return compile_format(spec.text, missing=b"" if spec.omit_empty else MISSING, extensions=spec.extensions)
