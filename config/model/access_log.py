"""Access loggers (envoy.config.accesslog.v3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class FileAccessLogSpec:
    """`envoy.extensions.access_loggers.file.v3.FileAccessLog`; also the stdout and stderr loggers (as `/dev/stdout`).

    `format` is the text format with its newline, `None` for Envoy's default.
    """

    path: str
    format: str | None = None


AccessLogSpec: TypeAlias = FileAccessLogSpec
