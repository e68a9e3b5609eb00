"""Plays every case of the HTTP/1 corpus through one proxy process.

Each lane is a listener, a cluster and a backend of its own, so that cases of different lanes cannot touch each other:
within a lane they run one at a time, and a clean request on a new connection follows each.
"""

from __future__ import annotations

import base64
import json
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.corpora import judge
from tests.support.backends import (
    Do,
    HttpBackend,
    LoopThread,
    RecordedRequest,
    Script,
    Send,
    Sleep,
    Step,
    ok_response,
)
from tests.support.bootstraps import (
    Json,
    bootstrap,
    cluster,
    http_filter_chain,
    listener,
    route_config,
    route_to,
)
from tests.support.http_client import InvalidResponse, RawClient, get
from tests.support.ports import free_ports
from tests.support.process import Proxy, ProxyCommand, start_proxy

CORPUS = Path(__file__).parent / "http1.json"

_QUIET_S = 0.06
"""No byte for this long after an allowed outcome ends a case: a surplus answer would have come."""
_SILENCE_S = 0.35
"""No byte for this long without any answer counts as `wait`."""
_PATIENCE_S = 2.5
"""How long an outcome that is not allowed (a delayed close, a busy machine) may still become another one."""
_PIECE_PAUSE_S = 0.0005


@dataclass(frozen=True)
class Result:
    """The outcome of one case and what is wrong with it."""

    outcome: str
    problems: tuple[str, ...]


def load() -> tuple[list[Json], list[Json]]:
    """The request cases and the response cases."""
    corpus = json.loads(CORPUS.read_text(encoding="utf-8"))
    return corpus["cases"], corpus["responses"]


class Lane:
    """One path through the proxy, for one case at a time."""

    def __init__(self, number: int, port: int, loop: LoopThread) -> None:
        self.number = number
        self.address = ("127.0.0.1", port)
        self.backend = HttpBackend(loop).start()
        self.backend.answer = _answer
        self._canaries = 0

    def listener(self, first_routes: Sequence[Json], manager: Mapping[str, Any]) -> Json:
        chain = http_filter_chain(
            route_config(*first_routes, route_to(f"lane-{self.number}")),
            stat_prefix=f"lane_{self.number}",
            **manager,
        )
        return listener(f"lane-{self.number}", self.address[1], chain)

    def cluster(self) -> Json:
        return cluster(f"lane-{self.number}", self.backend.address)

    def play(self, case: Json) -> Result:
        """Run one case and its canary."""
        if "backend_steps" in case:
            return self._play_response(case)
        return self._play_request(case)

    def _play_request(self, case: Json) -> Result:
        self.backend.clear()
        self.backend.answer, self.backend.answer_at_head = _answer, False
        with RawClient(self.address, methods=case.get("methods", ())) as client:
            _send_in_pieces(client, judge.case_input(case), case.get("send_chunk", 0))
            if case.get("after_send") == "half-close":
                client.half_close()
            seen, outcome = self._observe(client, case, judge.request_outcome)
        seen.requests = self.backend.requests
        seen.leftovers = self.backend.leftovers()
        self.backend.clear()
        seen.canary = self._canary()
        return Result(outcome, tuple(judge.request_problems(case, outcome, seen)))

    def _play_response(self, case: Json) -> Result:
        script = _script(case["backend_steps"])
        self.backend.clear()
        self.backend.answer, self.backend.answer_at_head = (lambda _: script), True
        with RawClient(self.address, methods=case.get("methods", ())) as client:
            client.send(base64.b64decode(case["request_b64"]))
            seen, outcome = self._observe(client, case, judge.response_outcome)
        seen.requests = self.backend.requests
        self.backend.clear()
        self.backend.answer, self.backend.answer_at_head = _answer, False
        seen.canary = self._canary()
        return Result(outcome, tuple(judge.response_problems(case, outcome, seen)))

    def _observe(
        self, client: RawClient, case: Json, outcome_of: Callable[..., str]
    ) -> tuple[judge.Observation, str]:
        allowed = judge.allowed_outcomes(case)
        invalid: str | None = None
        last_byte = start = time.monotonic()
        outcome = "wait"
        while True:
            try:
                if client.receive(0.02):
                    last_byte = time.monotonic()
            except InvalidResponse as error:
                invalid = str(error)
            outcome = outcome_of(client.reader, closed=client.closed_by_peer, invalid=invalid is not None)
            if invalid is not None or client.closed_by_peer:
                break
            quiet = time.monotonic() - last_byte
            if outcome in allowed and not client.reader.pending:
                unanswered = self.backend.count_complete() > len(client.reader.responses)
                limit = _SILENCE_S if unanswered or not client.reader.responses else _QUIET_S
            else:
                limit = _SILENCE_S if outcome in allowed else _PATIENCE_S
            if quiet > limit or time.monotonic() - start > 4 * _PATIENCE_S:
                break
        seen = judge.Observation(
            responses=list(client.reader.responses),
            interim=len(client.reader.interim),
            pending=client.reader.pending,
            invalid=invalid,
            closed=client.closed_by_peer,
            received=client.received,
        )
        return seen, outcome

    def _canary(self) -> str | None:
        self._canaries += 1
        target = f"/canary/{self.number}/{self._canaries}"
        try:
            response = get(self.address, target, timeout_s=5.0)
        except (OSError, InvalidResponse) as error:
            return f"{type(error).__name__}: {error}"
        if response.header("x-poison") is not None:
            return "x-poison reached the client"
        if response.status != 200 or response.body != target.encode():
            return f"status {response.status}, body {response.body[:100]!r}"
        return None


class CorpusRun:
    """A proxy with several lanes. Use as a context manager."""

    def __init__(
        self,
        command: ProxyCommand,
        directory: Path,
        *,
        lanes: int = 4,
        runtime: Mapping[str, Any] | None = None,
        first_routes: Sequence[Json] = (),
        manager: Mapping[str, Any] | None = None,
    ) -> None:
        self._loop = LoopThread()
        admin_port, *ports = free_ports(lanes + 1)
        self._lanes = [Lane(number, port, self._loop) for number, port in enumerate(ports)]
        text = bootstrap(
            admin_port,
            [lane.listener(first_routes, manager or {}) for lane in self._lanes],
            [lane.cluster() for lane in self._lanes],
            runtime=runtime,
        )
        try:
            self.proxy: Proxy = start_proxy(command, text, directory, admin_port, name="corpus")
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> CorpusRun:
        return self

    def __exit__(self, *_: object) -> None:
        self.proxy.terminate()
        self._close()

    def _close(self) -> None:
        for lane in self._lanes:
            lane.backend.stop()
        self._loop.close()

    def play(self, cases: Sequence[Json]) -> dict[str, Result]:
        """The result of every case by its id."""
        waiting: queue.SimpleQueue[Json] = queue.SimpleQueue()
        for case in cases:
            waiting.put(case)
        results: dict[str, Result] = {}

        def work(lane: Lane) -> None:
            while True:
                try:
                    case = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    results[case["id"]] = lane.play(case)
                except OSError as error:
                    results[case["id"]] = Result("error", (f"{type(error).__name__}: {error}",))

        threads = [threading.Thread(target=work, args=(lane,)) for lane in self._lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


def _answer(request: RecordedRequest) -> Script:
    body = request.target.encode("latin-1") if request.target.startswith("/canary/") else b"hello\n"
    if request.method == "HEAD":
        body = b""
    return [Send(ok_response(body, [("x-backend", "1")]))]


def _script(steps: Sequence[Mapping[str, Any]]) -> Script:
    script: list[Step] = []
    for step in steps:
        if "send_b64" in step:
            script.append(Send(base64.b64decode(step["send_b64"]), step.get("repeat", 1)))
        elif "sleep_ms" in step:
            script.append(Sleep(step["sleep_ms"] / 1000))
        else:
            script.append(Do(step["do"]))
    return script


def _send_in_pieces(client: RawClient, data: bytes, size: int) -> None:
    if not size:
        client.send(data)
        return
    for start in range(0, len(data), size):
        client.send(data[start : start + size])
        time.sleep(_PIECE_PAUSE_S)
