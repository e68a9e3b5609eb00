"""`/failures`: the last things that failed, newest first, each with its story; and as JSON with every fact."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from config.spelling import did_you_mean
from sidecar.main.admin.api import JSON, AdminRequest, AdminResponse, Endpoint, json_response
from sidecar.stream_info import FLAG_NAMES
from sidecar.telemetry.printable import printable
from stats.failure_family import KINDS

if TYPE_CHECKING:
    from sidecar.telemetry.failures import Failure, FailureLog

_DEFAULT_LIMIT: Final = 100
_WIDTH: Final = 22  # of the longest label
_NEWLINE: Final = "\n"


_PARAMETERS: Final = {
    "flag": "only those with this response flag, for example UC",
    "cluster": "only those of this cluster",
    "kind": "only those of this kind (failures.* in /stats)",
    "limit": f"so many at most (default {_DEFAULT_LIMIT})",
    "format": "text (default) or json",
}
_FORMATS: Final = ("text", "json")


def endpoint(log: FailureLog | None) -> Endpoint:
    def show(request: AdminRequest) -> AdminResponse:
        try:
            limit = _checked(request)
        except ValueError as error:
            return AdminResponse(f"{error}\n", 400)
        as_json = request.query.get("format") == "json"
        if log is None:
            text = "no failures are kept: the proxy runs with --failure-log-kb 0\n"
            return json_response({"kept": 0, "failures": []}) if as_json else AdminResponse(text)
        found = _matching(log, request, limit)
        if as_json:
            return AdminResponse(_json(log, found), content_type=JSON)
        return AdminResponse(_page(log, found))

    return Endpoint(
        "/failures",
        "why requests, sessions and connections failed, newest first",
        show,
        parameters=_PARAMETERS,
    )


def _checked(request: AdminRequest) -> int:
    """The limit. Raises ValueError with the text to answer for what would silently select nothing, or everything."""
    query = request.query
    for name in query:
        if name not in _PARAMETERS:
            raise ValueError(_unknown("parameter", name, _PARAMETERS))
    for name, known in (("flag", FLAG_NAMES), ("kind", KINDS), ("format", _FORMATS)):
        value = query.get(name, "")
        if value and (value.upper() if name == "flag" else value) not in known:
            raise ValueError(_unknown(name, value, known))
    try:
        limit = int(query.get("limit") or _DEFAULT_LIMIT)
    except ValueError:
        limit = 0
    if limit < 1:
        raise ValueError("limit must be a number of records, at least 1")
    return limit


def _unknown(what: str, word: str, known: Iterable[str]) -> str:
    guess = did_you_mean(word, known) or f"; one of {', '.join(sorted(known))}"
    return f"there is no {what} '{printable(word)}'{guess}"


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
    failures = "failure" if log.total == 1 else "failures"
    yield f"{log.total} {failures} since the start, {len(log)} of them kept, {len(found)} shown, newest first\n"
    for failure in found:
        yield "".join(f"{line}\n" for line in ("", *lines(failure)))


def _json(log: FailureLog, found: list[Failure]) -> Iterator[str]:
    """What `json_response` would print, record by record."""
    yield f'{{\n "kept": {len(log)},\n "since_start": {log.total},\n "failures": ['
    mark = ""
    for failure in found:
        record = json.dumps(failure.as_json(), indent=1, ensure_ascii=False)
        yield f"{mark}\n  {record.replace(_NEWLINE, _NEWLINE + '  ')}"
        mark = ","
    yield f"{_NEWLINE + ' ' if found else ''}]\n}}\n"


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
