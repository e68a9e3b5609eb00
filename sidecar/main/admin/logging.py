"""`/logging`: show and change log levels while running."""

from __future__ import annotations

from collections.abc import Callable

from sidecar.main.admin.api import AdminRequest, AdminResponse, Endpoint
from sidecar.worker import log

_USAGE = """
usage: /logging?<name>=<level> (change single level)
usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)
usage: /logging?level=<level> (change all levels)
usage: /logging?group=<name>:<level> (the same as <name>=<level>: groups have one logger here)
levels: trace debug info warning error critical off
"""


def endpoints(changed: Callable[[], None]) -> list[Endpoint]:
    """`changed` is called when levels have changed."""

    def logging(request: AdminRequest) -> AdminResponse:
        response = _logging(request)
        if request.query and response.status == 200:
            changed()
        return response

    return [
        Endpoint(
            "/logging",
            "query/change logging levels",
            logging,
            mutates=True,
            parameters={
                "paths": "several components: <name1>:<level1>,<name2>:<level2>",
                "group": "one component: <name>:<level>",
                "level": "all components: one of trace, debug, info, warning, error, critical, off",
            },
        )
    ]


def _logging(request: AdminRequest) -> AdminResponse:
    problem = _change(request)
    listing = "active loggers:\n" + "".join(f"  {name}: {level}\n" for name, level in log.current_levels())
    if problem:
        return AdminResponse(f"error: {problem}\n{_USAGE}{listing}", 400)
    return AdminResponse(listing)


def _change(request: AdminRequest) -> str:
    """Apply what was asked, all or nothing; returns what is wrong, or ""."""
    if not request.query:
        return ""
    if len(request.query) > 1:
        return "invalid number of parameters"
    ((name, value),) = request.query.items()
    if name == "level":
        if value not in log.LEVELS:
            return "unknown logger level"
        log.set_all(value)
        return ""
    changes = [(name, value)]
    if name in ("paths", "group"):
        items = [item for item in value.split(",") if item]
        changes = [(each, level) for each, _, level in (item.partition(":") for item in items)]
    for component, level in changes:
        if component not in log.COMPONENTS:
            return "unknown logger name"
        if level not in log.LEVELS:
            return "unknown logger level"
    for component, level in changes:
        log.set_component(component, level)
    return ""
