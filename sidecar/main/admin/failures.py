"""`/failures`: the last things that failed, newest first, each with its story; and as JSON with every fact."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from sidecar.main.admin.api import AdminRequest, AdminResponse, Endpoint, json_response

if TYPE_CHECKING:
    from sidecar.telemetry.failures import Failure, FailureLog

_DEFAULT_LIMIT: Final = 100
_WIDTH: Final = 22  # of the longest label


def endpoints(log: FailureLog | None) -> list[Endpoint]:
    def show(request: AdminRequest) -> AdminResponse:
        as_json = request.query.get("format") == "json"
        if log is None:
            text = "no failures are kept: the proxy runs with --failure-log-kb 0\n"
            return json_response({"kept": 0, "failures": []}) if as_json else AdminResponse(text)
        try:
            limit = _limit(request)
        except ValueError:
            return AdminResponse("limit must be a number of records, at least 1\n", 400)
        found = _matching(log, request, limit)
        if as_json:
            return json_response(
                {"kept": len(log), "since_start": log.total, "failures": [each.as_json() for each in found]}
            )
        return AdminResponse(_page(log, found))

    return [
        Endpoint(
            "/failures",
            "why requests, sessions and connections failed, newest first",
            show,
            parameters={
                "flag": "only those with this response flag, for example UC",
                "cluster": "only those of this cluster",
                "kind": "only those of this kind (failures.* in /stats)",
                "limit": f"so many at most (default {_DEFAULT_LIMIT})",
                "format": "text (default) or json",
            },
        )
    ]


def _limit(request: AdminRequest) -> int:
    """Raises ValueError."""
    limit = int(request.query.get("limit") or _DEFAULT_LIMIT)
    if limit < 1:
        raise ValueError(limit)
    return limit


def _matching(log: FailureLog, request: AdminRequest, limit: int) -> list[Failure]:
    query = request.query
    flag, cluster, kind = query.get("flag", "").upper(), query.get("cluster"), query.get("kind")
    found = []
    for failure in log.newest_first():
        if (
            (not flag or flag in failure.flags.split(","))
            and (not cluster or failure.cluster == cluster)
            and (not kind or failure.kind == kind)
        ):
            found.append(failure)
            if len(found) == limit:
                break
    return found


def _page(log: FailureLog, found: list[Failure]) -> Iterator[str]:
    yield f"{log.total} failures since the start, {len(log)} of them kept, {len(found)} shown, newest first\n"
    for failure in found:
        yield "".join(f"{line}\n" for line in ("", *lines(failure)))


def lines(failure: Failure) -> list[str]:
    """One failure for people: what and when, the story, and the facts that a story leaves out."""
    when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(failure.time_s))
    code = str(failure.code or "-")
    what = f"{failure.method} {failure.authority}{failure.path}" if failure.method else failure.protocol
    shown = [
        f"{when}.{int(failure.time_s * 1000) % 1000:03d}Z  {failure.flags or '-'}  {code}  {what}",
        f"  {failure.story}",
    ]
    cells = [
        ("kind", f"{failure.kind} ({failure.hop})"),
        ("details", failure.details),
        ("took", f"{failure.duration_ms} ms, {failure.protocol}"),
        ("client", _who(failure.client, failure.client_peer, failure.client_identity)),
        ("listener", failure.listener),
        ("route, cluster", ", ".join(filter(None, (failure.route, failure.cluster)))),
        ("upstream", _who(failure.host, failure.upstream_peer, failure.upstream_identity)),
        ("bytes from, to client", f"{failure.bytes_received}, {failure.bytes_sent}"),
        ("tls error", failure.tls_error),
        ("request id", failure.request_id),
    ]
    return [*shown, *(f"    {label:<{_WIDTH}}{value}" for label, value in cells if value)]


def _who(address: str, peer: str, identity: str) -> str:
    return "  ".join(filter(None, (address, peer, identity)))
