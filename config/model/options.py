"""What the command line says; `sidecar.main.options` reads it."""

from __future__ import annotations

import enum
from typing import Final

import msgspec

DEFAULT_LOG_FORMAT: Final = "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v"


class Mode(enum.Enum):
    SERVE = "serve"
    VALIDATE = "validate"
    INIT_ONLY = "init_only"


class DrainStrategy(enum.Enum):
    GRADUAL = "gradual"
    IMMEDIATE = "immediate"


class Options(msgspec.Struct, frozen=True):
    """The parsed command line. `warnings` are to be logged once the log is up."""

    config_path: str = ""
    config_yaml: str = ""
    mode: Mode = Mode.SERVE
    concurrency: int = 1
    log_level: str = "info"
    component_log_levels: tuple[tuple[str, str], ...] = ()
    log_format: str = DEFAULT_LOG_FORMAT
    log_format_escaped: bool = False
    log_path: str = ""
    service_node: str = ""
    service_cluster: str = ""
    service_zone: str = ""
    drain_time_s: int = 600
    drain_strategy: DrainStrategy = DrainStrategy.GRADUAL
    parent_shutdown_time_s: int = 900
    local_address_ip_version: str = "v4"
    file_flush_interval_ms: int = 10000
    file_flush_min_size_kb: int = 64
    failure_log_kb: int = 1024
    failure_log_max_records: int = 1000
    base_id: int = 0
    use_dynamic_base_id: bool = False
    restart_epoch: int = 0
    disable_hot_restart: bool = False
    admin_address_path: str = ""
    allow_unknown_static_fields: bool = False
    reject_unknown_dynamic_fields: bool = False
    ignore_unknown_dynamic_fields: bool = False
    stats_tags: tuple[tuple[str, str], ...] = ()
    cpuset_threads: bool = False
    skip_deprecated_logs: bool = False
    enable_core_dump: bool = False
    warnings: tuple[str, ...] = ()
