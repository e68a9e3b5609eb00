"""Access loggers (envoy.config.accesslog.v3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from config.model.access_log_filter import AccessLogFilterSpec
from config.model.services import GrpcServiceSpec, HttpServiceSpec
from config.model.tracing import CustomTag


class TextFormat(msgspec.Struct, frozen=True):
    """A format string, with its newline if it is to have one. `omit_empty`: nothing, not `-`, stands for what is missing.

    `extensions` are the types of the formatters whose operators it may use.
    """

    text: str
    omit_empty: bool = False
    extensions: tuple[str, ...] = ()


class JsonFormat(msgspec.Struct, frozen=True):
    """A table of format strings, constants, tables and lists: one JSON object a line. `omit_empty`: no null, no empty object."""

    fields: Mapping[str, object]
    omit_empty: bool = False
    extensions: tuple[str, ...] = ()


LogFormat: TypeAlias = TextFormat | JsonFormat


class FileAccessLogSpec(msgspec.Struct, frozen=True):
    """`envoy.extensions.access_loggers.file.v3.FileAccessLog`; also the stdout and stderr loggers (as `/dev/stdout`).

    `format` None: Envoy's default.
    """

    path: str
    format: LogFormat | None = None


class AccessLogOptions(msgspec.Struct, frozen=True):
    """`access_log_options` of the connection manager and of the TCP proxy: entries before the one at the end.

    `at_start`: of a new request, of an upstream connection. `at_tunnel`: of a tunnel that was granted. `flush_interval_s`: again and
    again; None: never.
    """

    at_start: bool = False
    at_tunnel: bool = False
    flush_interval_s: float | None = None


LOGGED_AT_THE_END: Final = AccessLogOptions()


class GrpcAccessLogSpec(msgspec.Struct, frozen=True):
    """`HttpGrpcAccessLogConfig` (`http`) or `TcpGrpcAccessLogConfig`: entries for Envoy's access log service.

    An entry waits until there are `buffer_bytes` of them, at most `flush_interval_s`. `filter_state` are the keys of objects that
    go along; header names are lower case.
    """

    http: bool
    log_name: str
    service: GrpcServiceSpec
    flush_interval_s: float = 1.0
    buffer_bytes: int = 16384
    filter_state: tuple[str, ...] = ()
    request_headers: tuple[str, ...] = ()
    response_headers: tuple[str, ...] = ()
    response_trailers: tuple[str, ...] = ()
    custom_tags: tuple[CustomTag, ...] = ()


class OpenTelemetryAccessLogSpec(msgspec.Struct, frozen=True):
    """`OpenTelemetryAccessLogConfig`: log records for an OpenTelemetry collector, by gRPC or HTTP.

    `body` and the values of `attributes` are format strings, lists and mappings; `resource` are constant ones. `builtin_labels`: the
    resource also says `log_name` and who we are.
    """

    log_name: str
    service: GrpcServiceSpec | HttpServiceSpec
    flush_interval_s: float = 1.0
    buffer_bytes: int = 16384
    body: object = None
    attributes: Mapping[str, object] = msgspec.field(default_factory=dict)
    resource: Mapping[str, object] = msgspec.field(default_factory=dict)
    builtin_labels: bool = True
    stat_prefix: str = ""
    extensions: tuple[str, ...] = ()
    custom_tags: tuple[CustomTag, ...] = ()


AccessLogSinkSpec: TypeAlias = FileAccessLogSpec | GrpcAccessLogSpec | OpenTelemetryAccessLogSpec


class FilteredAccessLogSpec(msgspec.Struct, frozen=True):
    """A log that gets the entries which `filter` lets through."""

    log: AccessLogSinkSpec
    filter: AccessLogFilterSpec


AccessLogSpec: TypeAlias = AccessLogSinkSpec | FilteredAccessLogSpec
