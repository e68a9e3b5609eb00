"""Plays every case of the HTTP/2 corpus through one proxy process."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.corpora import http2_judge, judge
from tests.corpora.lanes import CANARY, Lane, LanesRun, Result
from tests.support.bootstraps import Json
from tests.support.http2_client import Http2Client, get
from tests.support.http2_reader import InvalidAnswer
from tests.support.http_client import Response
from tests.support.process import wait_until

CORPUS = Path(__file__).parent / "http2.json"

_SETTLE_S = 0.06
"""No byte for this long after an allowed outcome ends a case: what contradicts it would have come."""
_SILENCE_S = 0.5
"""No byte for this long counts as silence where nothing else is allowed."""
_CLOSE_S = 1.4
"""The same where the connection may also be closed: Envoy does so with a delay of a second."""
_PATIENCE_S = 2.5
"""How long an outcome that is not allowed may still become another one."""
_LIMIT_S = 15.0
"""No case takes longer, whatever the proxy goes on sending."""
_PIECE_PAUSE_S = 0.0005
_GIVE_UP_S = 3.0
"""How long a proxy may take to give up a request whose client has gone."""


def load() -> list[Json]:
    """All cases."""
    cases: list[Json] = json.loads(CORPUS.read_text(encoding="utf-8"))["cases"]
    return cases


class Http2Lane(Lane):
    """A lane on which a case is frames of HTTP/2."""

    canary_errors = (OSError, InvalidAnswer)

    def clean_request(self, target: str) -> Response:
        return get(self.address, target)

    def play(self, case: Json) -> Result:
        self.backend.clear()
        with Http2Client(
            self.address,
            acknowledge_settings=case.get("ack_settings", True),
            head_streams=http2_judge.head_streams(case),
        ) as client:
            _send_steps(client, case)
            outcome = self._observe(client, case)
        seen = http2_judge.Http2Observation(
            opened=len(client.sent.opened),
            invalid=client.invalid,
            canary=self.canary(),
            hanging=self._hanging(),
            leftovers=self.backend.leftovers(),
        )
        seen.requests = [each for each in self.backend.requests if not each.target.startswith(CANARY)]
        return Result(outcome, tuple(http2_judge.problems(case, outcome, seen)))

    def _observe(self, client: Http2Client, case: Json) -> str:
        """The outcome, once it is certain enough that it is the last one."""
        stream = http2_judge.stream_of(case)
        start = time.monotonic()
        while True:
            outcome = http2_judge.stream_outcome(
                client.reader, stream, closed=client.closed_by_peer, invalid=client.invalid is not None
            )
            now = time.monotonic()
            left = max(client.last_byte, start) + _wait_s(case, outcome) - now
            if client.finished or now - start > _LIMIT_S:
                return outcome
            if left > 0:
                client.receive(left)
            elif not self._something_more(client, case, outcome):
                return outcome

    def _something_more(self, client: Http2Client, case: Json, outcome: str) -> bool:
        """Whether bytes have come after all.

        Where silence itself is the outcome, the proxy must first have served somebody else: then it had its chance.
        """
        if http2_judge.is_silent(outcome) or not judge.is_allowed(case, outcome):
            self.canary()
        return client.receive(0)

    def _hanging(self) -> int:
        def unfinished() -> int:
            return sum(not (request.complete or request.aborted) for request in self.backend.requests)

        try:
            wait_until(
                lambda: not unfinished(), timeout_s=_GIVE_UP_S, what="no request hangs", interval_s=0.005
            )
        except TimeoutError:
            return unfinished()
        return 0


class Http2CorpusRun(LanesRun):
    """A proxy with several lanes for HTTP/2: many, because most of the time they wait for the close."""

    lane_type = Http2Lane
    lane_count = 10


def _send_steps(client: Http2Client, case: Json) -> None:
    for step in case["steps"]:
        if "hex" in step:
            client.send(http2_judge.step_input(step))
            client.receive(_PIECE_PAUSE_S)
        elif "sleep_ms" in step:
            _read_for(client, step["sleep_ms"] / 1000)
        elif step["do"] == "half-close":
            client.half_close()
        else:
            raise ValueError(step["do"])


def _read_for(client: Http2Client, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not client.finished and (left := end - time.monotonic()) > 0:
        client.receive(left)


def _wait_s(case: Json, outcome: str) -> float:
    """How long there must be silence before `outcome` is the last one."""
    if not judge.is_allowed(case, outcome):
        return _PATIENCE_S
    if not http2_judge.is_silent(outcome):
        return _SETTLE_S
    shortest = _CLOSE_S if http2_judge.may_end_the_connection(case) else _SILENCE_S
    quiet_ms: int = case["expect"].get("quiet_ms", 0)
    return max(shortest, quiet_ms / 1000)
