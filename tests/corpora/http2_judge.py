"""What happened to an HTTP/2 case, and what of it is wrong. No sockets here.

An outcome concerns one stream: `accept` (the 200 of the backend, complete), `reject-NNN` (a complete answer of the proxy),
`stream-error:CODE` (RST_STREAM instead of an answer), `conn-error:CODE` (a GOAWAY with an error, whatever came before it),
`goaway:NO_ERROR`, `close` (closed without GOAWAY), `partial-NNN` (a head, but no end), `quiet` (nothing), or
`invalid-http2`, which no case allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.corpora.judge import (
    Aftermath,
    aftermath_problems,
    allowed_outcomes,
    answer_token,
    forwarding_problems,
    outcome_problems,
)
from tests.support.http2_frames import increment_streams
from tests.support.http2_reader import AnswerReader

_ENDS_OF_A_CONNECTION = ("conn-error:", "goaway:", "close")


@dataclass(slots=True, kw_only=True)
class Http2Observation(Aftermath):
    """What was seen of one case beside its outcome."""

    opened: int = 0
    """How many streams the client has opened."""
    invalid: str | None = None
    hanging: int = 0
    """Requests at the backend that are neither complete nor given up, long after the client has gone."""


def stream_of(case: Mapping[str, Any]) -> int:
    """The stream that the outcome of a case is about."""
    stream: int = case["expect"].get("stream", 1)
    return stream


def head_streams(case: Mapping[str, Any]) -> frozenset[int]:
    """The stream of the case when it asks HEAD there."""
    asks_head = any(want.get("method") == "HEAD" for want in case["expect"].get("requests", []))
    return frozenset([stream_of(case)] if asks_head else [])


def step_input(step: Mapping[str, Any]) -> bytes:
    """The bytes of a step that sends."""
    data = bytes.fromhex(step["hex"])
    repeat: int = step.get("repeat", 1)
    by = step.get("stream_increment", 0)
    if not by:
        return data * repeat
    return b"".join(increment_streams(data, by * number) for number in range(repeat))


def stream_outcome(reader: AnswerReader, stream: int, *, closed: bool, invalid: bool) -> str:
    """The outcome for `stream` as it stands."""
    answer = reader.answers.get(stream)
    if invalid:
        return "invalid-http2"
    if reader.error is not None:
        return f"conn-error:{reader.error}"
    if answer is not None and answer.response is not None and answer.complete:
        return answer_token(answer.response)
    if answer is not None and answer.reset is not None:
        return f"stream-error:{answer.reset}"
    if reader.goaways:
        return f"goaway:{reader.goaways[0]}"
    if closed:
        return "close"
    if answer is not None and answer.response is not None:
        return f"partial-{answer.response.status}"
    return "quiet"


def is_silent(outcome: str) -> bool:
    """Whether `outcome` says that something has not come: only waiting tells."""
    return outcome == "quiet" or outcome.startswith("partial-")


def may_end_the_connection(case: Mapping[str, Any]) -> bool:
    """Whether the end of the connection is among the allowed outcomes."""
    return any(each.startswith(_ENDS_OF_A_CONNECTION) for each in allowed_outcomes(case))


def verdict(outcome: str) -> str:
    """`outcome` as it is compared with another proxy's: the end of a connection is the same with and without a reason."""
    return "close" if outcome.startswith("conn-error:") else outcome


def problems(case: Mapping[str, Any], outcome: str, seen: Http2Observation) -> list[str]:
    """Everything wrong with a case; empty when it passes."""
    found = outcome_problems(case, outcome, seen.invalid)
    found += aftermath_problems(seen)
    complete = len(seen.complete())
    if complete > seen.opened:
        found.append(f"{complete} complete requests at the backend for {seen.opened} streams")
    most = case["expect"].get("max_backend_requests")
    if most is not None and len(seen.requests) > most:
        found.append(f"{len(seen.requests)} requests at the backend, allowed: {most}")
    if seen.hanging:
        found.append(f"{seen.hanging} requests left hanging at the backend")
    return found + forwarding_problems(case, int(outcome == "accept"), seen)
