"""`/ready /server_info /memory /healthcheck/* /drain_listeners /quitquitquit /runtime /hot_restart_version /help`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.model.options import Mode
from sidecar.main.admin.api import AdminRequest, AdminResponse, Endpoint, json_response
from sidecar.version import ENVOY_VERSION, VERSION, VERSION_LINE
from sidecar.worker.server_state import ServerState

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.worker.process import Process


def endpoints(process: Process, help_text: Callable[[], str]) -> list[Endpoint]:
    keeper = process.state

    def ready(request: AdminRequest) -> AdminResponse:
        state = keeper.shown
        return AdminResponse(f"{state.name}\n", 200 if state is ServerState.LIVE else 503)

    def server_info(request: AdminRequest) -> AdminResponse:
        uptime = f"{keeper.uptime_s}s"
        return json_response(
            {
                "version": VERSION_LINE,
                "state": keeper.shown.name,
                "uptime_current_epoch": uptime,
                "uptime_all_epochs": uptime,
                "hot_restart_version": "disabled",
                "command_line_options": command_line_options(process),
                "node": {**node(process), "client_features": [], "listening_addresses": []},
                "hot_restart_initializing": False,
            }
        )

    def memory(request: AdminRequest) -> AdminResponse:
        resident = str(process.resident_bytes())
        return json_response(
            {
                "allocated": resident,
                "heap_size": resident,
                "pageheap_unmapped": "0",
                "pageheap_free": "0",
                "total_thread_cache": "0",
                "total_physical_bytes": resident,
            }
        )

    def healthcheck_fail(request: AdminRequest) -> AdminResponse:
        process.fail_health_check(True)
        return AdminResponse("OK\n")

    def healthcheck_ok(request: AdminRequest) -> AdminResponse:
        process.fail_health_check(False)
        return AdminResponse("OK\n")

    def drain_listeners(request: AdminRequest) -> AdminResponse:
        process.drain_listeners(
            inbound_only=request.flag("inboundonly"),
            graceful=request.flag("graceful"),
            skip_exit=request.flag("skip_exit"),
        )
        return AdminResponse("OK\n")

    def quit_(request: AdminRequest) -> AdminResponse:
        return AdminResponse("OK\n", after=process.stop)

    def help_(request: AdminRequest) -> AdminResponse:
        return AdminResponse(help_text())

    return [
        Endpoint("/", "the list of admin commands", help_),
        Endpoint("/help", "print out list of admin commands", help_),
        Endpoint("/ready", "print server state, return 200 if LIVE, otherwise return 503", ready),
        Endpoint("/server_info", "print server version/status information", server_info),
        Endpoint("/memory", "print the memory of the process", memory),
        Endpoint(
            "/hot_restart_version",
            "print the hot restart compatibility version",
            lambda _: AdminResponse("disabled"),
        ),
        Endpoint(
            "/healthcheck/fail", "cause the server to fail health checks", healthcheck_fail, mutates=True
        ),
        Endpoint("/healthcheck/ok", "cause the server to pass health checks", healthcheck_ok, mutates=True),
        Endpoint("/quitquitquit", "exit the server", quit_, mutates=True),
        Endpoint(
            "/drain_listeners",
            "drain listeners",
            drain_listeners,
            mutates=True,
            parameters={
                "graceful": "ask clients to close first, stop accepting after the drain time",
                "skip_exit": "drain connections, but never stop the listeners",
                "inboundonly": "only listeners whose traffic_direction is INBOUND",
            },
        ),
    ]


def node(process: Process) -> dict[str, object]:
    """Our node as `/server_info` shows it: as configured, with what this program is."""
    spec = process.bootstrap.node
    shown: dict[str, object] = {
        "id": spec.id,
        "cluster": spec.cluster,
        "metadata": dict(spec.metadata),
        "user_agent_name": "envoy",
        "user_agent_build_version": {
            "version": dict(
                zip(
                    ("major_number", "minor_number", "patch"), map(int, ENVOY_VERSION.split(".")), strict=True
                )
            ),
            "metadata": {"implementation": "sidecar-proxy", "implementation.version": VERSION},
        },
    }
    locality = {
        "region": spec.locality.region,
        "zone": spec.locality.zone,
        "sub_zone": spec.locality.sub_zone,
    }
    if any(locality.values()):
        shown["locality"] = locality
    return shown


def command_line_options(process: Process) -> dict[str, object]:
    options = process.options
    return {
        "base_id": str(options.base_id),
        "use_dynamic_base_id": options.use_dynamic_base_id,
        "concurrency": options.concurrency,
        "config_path": options.config_path,
        "config_yaml": options.config_yaml,
        "allow_unknown_static_fields": options.allow_unknown_static_fields,
        "reject_unknown_dynamic_fields": options.reject_unknown_dynamic_fields,
        "ignore_unknown_dynamic_fields": options.ignore_unknown_dynamic_fields,
        "admin_address_path": options.admin_address_path,
        "local_address_ip_version": options.local_address_ip_version,
        "log_level": options.log_level,
        "component_log_level": ",".join(f"{name}:{level}" for name, level in options.component_log_levels),
        "log_format": options.log_format,
        "log_format_escaped": options.log_format_escaped,
        "log_path": options.log_path,
        "service_cluster": options.service_cluster,
        "service_node": options.service_node,
        "service_zone": options.service_zone,
        "file_flush_interval": f"{options.file_flush_interval_ms / 1000:g}s",
        "file_flush_min_size": options.file_flush_min_size_kb,
        "drain_time": f"{options.drain_time_s}s",
        "drain_strategy": options.drain_strategy.value.capitalize(),
        "parent_shutdown_time": f"{options.parent_shutdown_time_s}s",
        "mode": {Mode.SERVE: "Serve", Mode.VALIDATE: "Validate", Mode.INIT_ONLY: "InitOnly"}[options.mode],
        "disable_hot_restart": options.disable_hot_restart,
        "restart_epoch": options.restart_epoch,
        "cpuset_threads": options.cpuset_threads,
        "enable_core_dump": options.enable_core_dump,
        "skip_deprecated_logs": options.skip_deprecated_logs,
        "stats_tag": [f"{name}:{value}" for name, value in options.stats_tags],
    }
