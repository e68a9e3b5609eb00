"""The admin page of failures, without a server."""

from __future__ import annotations

import json

import pytest

from config.model.core import SocketAddress
from sidecar.main.admin import failures
from sidecar.main.admin.api import AdminResponse, json_response, parse_target
from sidecar.stream_info import ConnectionInfo, ResponseFlag, StreamInfo
from sidecar.telemetry.failures import FailureLog
from stats.failure_family import FailureStats
from stats.store import Store


def _ask(log: FailureLog | None, query: str = "") -> AdminResponse:
    endpoint = failures.endpoint(log)
    return endpoint.handler(parse_target(b"GET", b"/failures" + query.encode()))


def _text(response: AdminResponse) -> str:
    return response.body if isinstance(response.body, str) else "".join(response.body)


@pytest.fixture
def log() -> FailureLog:
    log = FailureLog(
        FailureStats(Store().root.scope("failures")), max_bytes=1 << 20, max_count=100, now_s=lambda: 0.0
    )
    for cluster, flag in (
        ("movies", ResponseFlag.NO_HEALTHY_UPSTREAM),
        ("shop", ResponseFlag.UPSTREAM_OVERFLOW),
        ("movies", ResponseFlag.UPSTREAM_OVERFLOW),
    ):
        info = StreamInfo(ConnectionInfo(SocketAddress("10.0.0.1", 1), SocketAddress("10.0.0.2", 2)), 0.0, 0)
        info.protocol, info.cluster_name = "HTTP/2", cluster
        info.add_flag(flag)
        log.record_stream(info, None)
    return log


def test_one_failure_is_no_plural() -> None:
    log = FailureLog(
        FailureStats(Store().root.scope("failures")), max_bytes=1 << 20, max_count=100, now_s=lambda: 0.0
    )
    info = StreamInfo(ConnectionInfo(SocketAddress("10.0.0.1", 1), SocketAddress("10.0.0.2", 2)), 0.0, 0)
    info.add_flag(ResponseFlag.UPSTREAM_OVERFLOW)
    log.record_stream(info, None)
    assert _text(_ask(log)).startswith("1 failure since the start, 1 of them kept, 1 shown, newest first")


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", ["UO", "UO", "UH"]),
        ("?flag=UO", ["UO", "UO"]),
        ("?flag=uh", ["UH"]),
        ("?cluster=movies", ["UO", "UH"]),
        ("?cluster=movies&flag=UO", ["UO"]),
        ("?kind=no_healthy_upstream", ["UH"]),
        ("?limit=1", ["UO"]),
        ("?flag=UC", []),
    ],
)
def test_filters_and_order(log: FailureLog, query: str, shown: list[str]) -> None:
    page = _text(_ask(log, f"{query}{'&' if query else '?'}format=json"))
    assert [each["flags"] for each in json.loads(page)["failures"]] == shown
    text = _text(_ask(log, query))
    assert f"3 failures since the start, 3 of them kept, {len(shown)} shown" in text
    assert text.count("1970-01-01T00:00:00.000Z") == len(shown)


@pytest.mark.parametrize("limit", ["0", "-1", "x"])
def test_bad_limit_is_refused(log: FailureLog, limit: str) -> None:
    assert _ask(log, f"?limit={limit}").status == 400


def test_page_says_that_nothing_is_kept() -> None:
    assert "--failure-log-kb 0" in _text(_ask(None))
    assert json.loads(_text(_ask(None, "?format=json"))) == {"kept": 0, "failures": []}


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("?flag=UOX", "there is no flag 'UOX'; did you mean 'UO'?"),
        ("?flag=ZZ", "there is no flag 'ZZ'; one of DC, DF,"),
        ("?kind=no_rout", "there is no kind 'no_rout'; did you mean 'no_route'?"),
        ("?flg=UO", "there is no parameter 'flg'; did you mean 'flag'?"),
        ("?format=jsn", "there is no format 'jsn'; did you mean 'json'?"),
        ("?flag=%1b%5b2J%0aUO", "there is no flag '?[2J?UO'"),
    ],
)
@pytest.mark.parametrize("kept", [True, False])
def test_what_would_select_nothing_for_ever_is_refused(
    log: FailureLog, query: str, says: str, kept: bool
) -> None:
    response = _ask(log if kept else None, query)
    assert response.status == 400
    assert _text(response).startswith(says)


@pytest.mark.parametrize("query", ["?format=json", "?format=json&flag=UC"])
def test_json_is_made_record_by_record(log: FailureLog, query: str) -> None:
    """The same text as if it were made at once, but no turn of the loop makes more than one record."""
    response = _ask(log, query)
    assert not isinstance(response.body, str)
    pieces = [str(piece) for piece in response.body]
    assert max(piece.count('"story"') for piece in pieces) == (0 if "UC" in query else 1)
    assert "".join(pieces) == json_response(json.loads("".join(pieces))).body
