"""A message that is held: what reaches whom, in which order, and when the source is stopped."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.http.headers import Headers
from sidecar.http.api import Stream
from sidecar.http.held_message import DataStep, HeaderStep, HeldMessage, Steps, TrailerStep
from sidecar.transport.flow import CONTINUE, HOLD, HOLD_HEADERS, Flow, Held
from tests.support.http_floor import stream_of

STREAM = stream_of()
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
    head: tuple[HeaderStep, ...] = (
        () if headers_done else tuple((place, script.on_headers) for place, script in enumerate(scripts))
    )
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


def test_resuming_while_the_headers_are_given_is_no_hold() -> None:
    seen: list[str] = []

    class Prompt(Script):
        def on_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
            super().on_headers(stream, headers, end)
            message.resume()
            return HOLD

    message = held(steps(Script("a", seen), Prompt("b", seen), Script("c", seen)))
    message.push_data(b"1", True)
    message.resume()
    assert seen == ["a:head", "b:head", "c:head", "a:1.", "b:1.", "c:1."]
    assert not message.holds


class Watcher(Script):
    """Holds its headers and swallows the body up to its end; `answer` is what it gives then."""

    def __init__(self, name: str, seen: list[str], answer: bytes, instead_of_trailers: bool = False) -> None:
        super().__init__(name, seen, HOLD_HEADERS)
        self.answer = answer
        self.instead_of_trailers = instead_of_trailers

    def on_data(self, stream: Stream, data: bytes, end: bool) -> bytes | Held:
        super().on_data(stream, data, end)
        return self.answer if end else b""

    def on_trailers(self, stream: Stream, trailers: Headers) -> Flow | bytes:
        super().on_trailers(stream, trailers)
        return self.answer if self.instead_of_trailers else CONTINUE


class TestWatcher:
    def test_body_is_seen_before_the_headers_go(self) -> None:
        seen: list[str] = []
        message = held(steps(Script("a", seen, HOLD), Watcher("b", seen, b"!"), Script("c", seen)))
        message.push_data(b"1", False)
        message.resume()
        assert seen == ["a:head"]
        message.resume()
        assert seen == ["a:head", "b:head", "a:1", "b:1"]
        message.push_data(b"2", True)
        assert seen[4:] == ["a:2.", "b:2.", "c:head", "c:!."]
        assert not message.holds

    def test_the_next_holder_of_the_headers_keeps_the_body_too(self) -> None:
        seen: list[str] = []
        message = held(steps(Watcher("a", seen, b"!"), Script("b", seen, HOLD), Script("c", seen)))
        message.resume()
        message.push_data(b"1", True)
        assert seen == ["a:head", "a:1.", "b:head"]
        message.resume()
        assert seen[3:] == ["c:head", "b:!.", "c:!."]
        assert not message.holds

    def test_trailers_let_go_as_well(self) -> None:
        seen: list[str] = []
        message = held(steps(Watcher("a", seen, b"!"), Script("b", seen)))
        message.resume()
        message.push_data(b"1", False)
        message.push_trailers(TRAILERS)
        assert seen == ["a:head", "a:1", "a:trailers", "b:head", "b:trailers"]
        assert not message.holds

    def test_data_in_place_of_trailers_is_the_end(self) -> None:
        seen: list[str] = []
        watcher = Watcher("a", seen, b"!", instead_of_trailers=True)
        message = held(steps(watcher, Script("b", seen, CONTINUE, HOLD), Script("c", seen)))
        message.resume()
        message.push_trailers(TRAILERS)
        assert seen == ["a:head", "a:trailers", "b:head", "c:head", "b:!."]
        message.resume()
        assert seen[5:] == ["c:!."]
        assert not message.holds

    def test_one_that_does_not_look_at_bodies_just_holds(self) -> None:
        seen: list[str] = []
        plan = steps(Script("a", seen, HOLD_HEADERS), Script("b", seen))
        message = held(Steps(plan.headers, plan.data[1:], plan.trailers[1:]))
        message.resume()
        message.push_data(b"1", True)
        assert seen == ["a:head"]
        message.resume()
        assert seen == ["a:head", "b:head", "b:1."]


class Last(Script):
    """The encoder: never holds."""

    def __init__(self) -> None:
        super().__init__("", [])
        self.body = b""
        self.ended = 0

    def on_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
        self.seen.append("head")
        return CONTINUE

    def on_data(self, stream: Stream, data: bytes, end: bool) -> bytes:
        assert self.seen == ["head"]
        assert not self.ended
        assert data or end
        self.body += data
        self.ended += end
        return data

    def on_trailers(self, stream: Stream, trailers: Headers) -> Flow:
        assert self.seen == ["head"]
        self.ended += 1
        return CONTINUE


VERDICTS = st.lists(st.sampled_from([CONTINUE, HOLD, HOLD_HEADERS]), max_size=5)


@settings(max_examples=1500)
@given(
    st.lists(VERDICTS, min_size=1, max_size=4),
    st.lists(st.sampled_from("drr"), max_size=8),
    st.sampled_from(["data", "trailers"]),
)
def test_whatever_filters_answer_all_goes_on_once_and_in_order(
    verdicts: list[list[Flow]], events: list[str], ending: str
) -> None:
    last = Last()
    message = held(steps(*[Script(str(at), [], *each) for at, each in enumerate(verdicts)], last))
    sent = b""
    for event in events:
        if event == "d":
            piece = b"%d," % len(sent)
            sent += piece
            message.push_data(piece, False)
        elif message.holds:
            message.resume()
    if ending == "data":
        message.push_data(b".", True)
        sent += b"."
    else:
        message.push_trailers(TRAILERS)
    for _ in range(40):
        if not message.holds:
            break
        message.resume()
    assert not message.holds
    assert (last.seen, last.body, last.ended) == (["head"], sent, 1)
