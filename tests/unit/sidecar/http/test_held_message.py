"""A message that is held: what reaches whom, in which order, and when the source is stopped."""

from __future__ import annotations

from typing import cast

from protocols.http.headers import Headers
from sidecar.http.api import Stream
from sidecar.http.held_message import DataStep, HeaderStep, HeldMessage, Steps, TrailerStep
from sidecar.transport.flow import CONTINUE, HOLD, Flow, Held

STREAM = cast(Stream, None)
HEAD = Headers.request(b"POST", b"/", b"host")
TRAILERS = Headers([(b"x", b"y")])


class Script:
    """One filter: the verdicts it gives in turn (CONTINUE when none are left), and what it saw."""

    def __init__(self, name: str, seen: list[str], *verdicts: Flow) -> None:
        self.name = name
        self.seen = seen
        self.verdicts = list(verdicts)

    def _verdict(self) -> Flow:
        return self.verdicts.pop(0) if self.verdicts else CONTINUE

    def on_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
        self.seen.append(f"{self.name}:head")
        return self._verdict()

    def on_data(self, stream: Stream, data: bytes, end: bool) -> bytes | Held:
        self.seen.append(f"{self.name}:{data.decode()}{'.' if end else ''}")
        return HOLD if self._verdict() is HOLD else data

    def on_trailers(self, stream: Stream, trailers: Headers) -> Flow:
        self.seen.append(f"{self.name}:trailers")
        return self._verdict()


def steps(*scripts: Script, headers_done: bool = False) -> Steps:
    head: tuple[HeaderStep, ...] = () if headers_done else tuple(script.on_headers for script in scripts)
    data: tuple[DataStep, ...] = tuple((place, script.on_data) for place, script in enumerate(scripts))
    trailers: tuple[TrailerStep, ...] = tuple(
        (place, script.on_trailers) for place, script in enumerate(scripts)
    )
    return Steps(head, data, trailers)


def held(plan: Steps, gate: list[bool] | None = None, limit: int = 100) -> HeldMessage:
    on_full = gate.append if gate is not None else (lambda full: None)
    return HeldMessage(STREAM, HEAD, False, plan, limit, on_full)


def test_data_waits_for_the_headers() -> None:
    seen: list[str] = []
    message = held(steps(Script("a", seen), Script("b", seen)))
    message.push_data(b"1", False)
    message.push_data(b"2", True)
    assert seen == []
    assert message.holds
    message.resume()
    assert seen == ["a:head", "b:head", "a:12.", "b:12."]
    assert not message.holds


def test_next_filter_may_hold_too() -> None:
    seen: list[str] = []
    message = held(steps(Script("a", seen, HOLD), Script("b", seen)))
    message.push_data(b"1", True)
    message.resume()
    assert seen == ["a:head"]
    message.resume()
    assert seen == ["a:head", "b:head", "a:1.", "b:1."]


def test_trailers_come_last() -> None:
    seen: list[str] = []
    message = held(steps(Script("a", seen)))
    message.push_data(b"1", False)
    message.push_trailers(TRAILERS)
    message.resume()
    assert seen == ["a:head", "a:1", "a:trailers"]
    assert not message.holds


def test_holder_of_data_sees_more_and_lets_go() -> None:
    seen: list[str] = []
    message = held(steps(Script("a", seen), Script("b", seen, HOLD), Script("c", seen), headers_done=True))
    message.push_data(b"1", False)
    assert seen == ["a:1", "b:1"]
    message.push_data(b"2", True)
    assert seen == ["a:1", "b:1", "a:2.", "b:2.", "c:12."]
    assert not message.holds


def test_trailers_reach_the_holder_and_release_the_body() -> None:
    seen: list[str] = []
    message = held(steps(Script("a", seen), Script("b", seen, HOLD), Script("c", seen), headers_done=True))
    message.push_data(b"1", False)
    message.push_trailers(TRAILERS)
    assert seen == ["a:1", "b:1", "a:trailers", "b:trailers", "c:1", "c:trailers"]


def test_trailers_wait_for_a_holder_that_keeps_holding() -> None:
    seen: list[str] = []
    message = held(steps(Script("a", seen, HOLD, HOLD), Script("b", seen), headers_done=True))
    message.push_data(b"1", False)
    message.push_trailers(TRAILERS)
    assert seen == ["a:1", "a:trailers"]
    message.resume()
    assert seen == ["a:1", "a:trailers", "b:1", "b:trailers"]
    assert not message.holds


def test_source_is_stopped_above_the_limit() -> None:
    seen: list[str] = []
    gate: list[bool] = []
    message = held(steps(Script("a", seen)), gate, limit=3)
    message.push_data(b"123", False)
    assert gate == []
    message.push_data(b"4", False)
    message.push_data(b"5", False)
    assert gate == [True]
    message.resume()
    assert gate == [True, False]


def test_dropped_message_is_forgotten() -> None:
    seen: list[str] = []
    gate: list[bool] = []
    message = held(steps(Script("a", seen)), gate, limit=1)
    message.push_data(b"123", False)
    message.drop()
    message.resume()
    assert seen == []
    assert gate == [True, False]
    assert not message.holds


def test_filter_that_drops_the_message_from_within() -> None:
    seen: list[str] = []

    class Dropper(Script):
        def on_data(self, stream: Stream, data: bytes, end: bool) -> bytes | Held:
            message.drop()
            return data

    message = held(steps(Dropper("a", seen), Script("b", seen), headers_done=True))
    message.push_data(b"1", False)
    assert seen == []
