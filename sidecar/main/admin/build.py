"""The admin server of a process: all endpoints on the configured address."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from config.model.core import Address
from sidecar.main.admin import lifecycle, listeners, runtime, stats
from sidecar.main.admin import logging as logging_endpoints
from sidecar.main.admin.api import AdminRequest, AdminResponse, Endpoint, json_response
from sidecar.main.admin.server import AdminServer, NewEndpoint
from sidecar.main.admin.server_stats import AdminStats
from sidecar.transport.http1_codecs import http1_codecs
from sidecar.transport.sockets import BindError
from sidecar.worker.start_error import StartError

if TYPE_CHECKING:
    from config.bootstrap import ParsedBootstrap
    from sidecar.worker.process import Process

logger = logging.getLogger(__name__)


class Admin:
    """The admin server and where it listens."""

    def __init__(self, server: AdminServer, address: Address) -> None:
        self._server = server
        self.address = address

    async def start(self, loop: asyncio.AbstractEventLoop) -> None:
        await self._server.start(loop)
        logger.info("admin address: %s", self.address)

    def close(self) -> None:
        self._server.close()


def build_admin(process: Process, parsed: ParsedBootstrap) -> Admin | None:
    """Bind the admin address, if there is one. Raises StartError."""
    spec = process.bootstrap.admin
    if spec.address is None:
        return None
    server: AdminServer
    table = [
        *lifecycle.endpoints(process, lambda: server.help_text()),
        *stats.endpoints(process.stats, process.reset_counters, process.store.ceiling.max_series),
        *runtime.endpoints(parsed),
        *listeners.endpoints(process.listeners),
        *logging_endpoints.endpoints(process.log_levels_changed),
        Endpoint("/reopen_logs", "reopen access logs", _reopen(process), mutates=True),
        Endpoint("/init_dump", "what is not ready yet", lambda _: json_response({})),
    ]
    scope = process.store.root
    server = AdminServer(
        table,
        AdminStats(scope),
        http1_codecs(process.bootstrap.runtime).server,
        process.admin_loggers,
        process.garbage,
        process.ask_workers,
        _on_demand(process, parsed),
    )
    try:
        address = server.bind(spec.address)
    except BindError as error:
        raise StartError([f"admin: {error.strerror}"]) from error
    _write_address(process.options.admin_address_path, address)
    return Admin(server, address)


def _on_demand(process: Process, parsed: ParsedBootstrap) -> Mapping[str, NewEndpoint]:
    """Pages that people ask for now and then: imported (a ms or two) a while after the start, or with their first request before.

    What is asked for at intervals, above all the statistics for Prometheus, is there from the start.
    """
    services = process.services
    assert services is not None, "the process is built first"

    def clusters_page() -> Endpoint:
        from sidecar.main.admin import clusters

        return clusters.endpoint(services.clusters, process.hosts_of)

    def certs_page() -> Endpoint:
        from sidecar.main.admin import certs

        return certs.endpoint(services.tls)

    def failures_page() -> Endpoint:
        from sidecar.main.admin import failures

        return failures.endpoint(process.failures)

    def config_dump_page() -> Endpoint:
        from sidecar.main.admin import config_dump

        return config_dump.endpoint(process, parsed)

    return {
        "/clusters": clusters_page,
        "/certs": certs_page,
        "/failures": failures_page,
        "/config_dump": config_dump_page,
    }


def _reopen(process: Process) -> Callable[[AdminRequest], AdminResponse]:
    def reopen(request: AdminRequest) -> AdminResponse:
        process.reopen_logs()
        return AdminResponse("OK\n")

    return reopen


def _write_address(path: str, address: Address) -> None:
    """`--admin-address-path`: for whoever asked for port 0."""
    if not path:
        return
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(str(address))
    except OSError as error:
        raise StartError([f"--admin-address-path {path}: {error.strerror}"]) from error
