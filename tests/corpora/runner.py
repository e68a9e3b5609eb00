"""Plays every case of the HTTP/1 corpus through one proxy process."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.corpora import judge
from tests.corpora.lanes import Lane, LanesRun, Result, answer
from tests.support.backends import Do, Script, Send, Sleep, Step
from tests.support.bootstraps import Json
from tests.support.http_client import InvalidResponse, RawClient, Response, get

CORPUS = Path(__file__).parent / "http1.json"

_QUIET_S = 0.06
"""No byte for this long after an allowed outcome ends a case: a surplus answer would have come."""
_SILENCE_S = 0.35
"""No byte for this long without any answer counts as `wait`."""
_PATIENCE_S = 2.5
"""How long an outcome that is not allowed (a delayed close, a busy machine) may still become another one."""
_PIECE_PAUSE_S = 0.0005


def load() -> tuple[list[Json], list[Json]]:
    """The request cases and the response cases."""
    corpus = json.loads(CORPUS.read_text(encoding="utf-8"))
    return corpus["cases"], corpus["responses"]


class Http1Lane(Lane):
    """A lane on which a case is bytes of HTTP/1."""

    canary_errors = (OSError, InvalidResponse)

    def clean_request(self, target: str) -> Response:
        return get(self.address, target, timeout_s=5.0)

    def play(self, case: Json) -> Result:
        if "backend_steps" in case:
            return self._play_response(case)
        return self._play_request(case)

    def _play_request(self, case: Json) -> Result:
        self.backend.clear()
        self.backend.answer, self.backend.answer_at_head = answer, False
        with RawClient(self.address, methods=case.get("methods", ())) as client:
            _send_in_pieces(client, judge.case_input(case), case.get("send_chunk", 0))
            half_closed = case.get("after_send") == "half-close"
            if half_closed:
                client.half_close()
            seen, outcome = self._observe(
                client, case, partial(judge.request_outcome, half_closed=half_closed)
            )
        seen.requests = self.backend.requests
        seen.leftovers = self.backend.leftovers()
        self.backend.clear()
        seen.canary = self.canary()
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
        self.backend.answer, self.backend.answer_at_head = answer, False
        seen.canary = self.canary()
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


class CorpusRun(LanesRun):
    """A proxy with several lanes for HTTP/1."""

    lane_type = Http1Lane
    lane_count = 4


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
