"""The runner does what a manifest says, and fails when the answers do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.runner import ScenarioRun
from tests.conformance.scenarios import Scenario, ScenarioFailure
from tests.support.backends import HttpBackend, LoopThread
from tests.support.process import sidecar_command

_BACKEND = "127.0.0.1:${PORT_BACKEND}"
_DENIED = {"code": 7, "message": "denied"}


@pytest.fixture
def http() -> Iterator[HttpBackend]:
    loop = LoopThread()
    backend = HttpBackend(loop).start()
    yield backend
    backend.stop()
    loop.close()


def _run(directory: Path, *steps: Mapping[str, Any]) -> None:
    """A scenario without proxies: its steps reach the backends."""
    manifest = {"steps": list(steps), "proxies": {}, "backend": {"kind": "grpc", "address": _BACKEND}}
    with ScenarioRun(Scenario("made up", directory, manifest), sidecar_command(), directory) as run:
        run.run()


def _get(http: HttpBackend, path: str, **more: Any) -> dict[str, Any]:
    url = f"http://127.0.0.1:{http.address[1]}{path}"
    return {"action": "http", "method": "GET", "url": url, "expect": {"status": 200}, **more}


def _unary(code: int, status: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "action": "grpc_unary",
        "address": _BACKEND,
        "count": 3,
        "return_status": status,
        "expect": {"code": code},
    }


def _send(*counts: int) -> dict[str, Any]:
    return {"action": "grpc_stream_send", "response_counts": list(counts)}


_START = {"action": "backend", "kind": "grpc"}
_OPEN = {"action": "grpc_stream_open", "address": _BACKEND}
_CLOSE = {"action": "grpc_stream_close"}


def test_unary_calls_have_the_status_of_the_manifest(tmp_path: Path) -> None:
    _run(tmp_path, _START, _unary(7, _DENIED), _unary(0, {}))


def test_unary_call_with_another_status_fails(tmp_path: Path) -> None:
    with pytest.raises(
        ScenarioFailure, match=r"step 2 \(grpc_unary\): call 0: status 7 'denied', expected 0"
    ):
        _run(tmp_path, _START, _unary(0, _DENIED))


def test_streams_are_answered_message_by_message(tmp_path: Path) -> None:
    _run(tmp_path, _START, _OPEN, _send(1, 5, 7), _send(0, 1), _CLOSE, _OPEN, _send(2), _CLOSE)


def test_message_on_a_closed_stream_fails(tmp_path: Path) -> None:
    with pytest.raises(ScenarioFailure, match="no stream is open"):
        _run(tmp_path, _START, _OPEN, _CLOSE, _send(1))


def test_background_goes_on_beside_the_foreground(tmp_path: Path, http: HttpBackend) -> None:
    """Its repetitions are numbered; steps of the control plane are left out in both."""
    background = {"for_seconds": 0.3, "steps": [_get(http, "/back/${N}"), {"action": "xds"}]}
    foreground = [_get(http, "/front/${N}", count=5), {"action": "xds"}]
    _run(tmp_path, {"action": "parallel", "foreground": foreground, "background": background})
    targets = [request.target for request in http.requests]
    assert [target for target in targets if "front" in target] == [f"/front/{number}" for number in range(5)]
    repeated = [target for target in targets if "back" in target]
    assert repeated == [f"/back/{number}" for number in range(len(repeated))]
    assert len(repeated) > 1


@pytest.mark.parametrize("side", ["foreground", "background"])
def test_failure_on_either_side_fails(tmp_path: Path, http: HttpBackend, side: str) -> None:
    good, bad = [_get(http, "/")], [_get(http, "/", expect={"status": 404})]
    front, back = (bad, good) if side == "foreground" else (good, bad)
    background = {"for_seconds": 0.1, "steps": back}
    with pytest.raises(ScenarioFailure, match="status 200"):
        _run(tmp_path, {"action": "parallel", "foreground": front, "background": background})
