"""What is sent, both roles: nothing that the peer has no room for, everything in the end, at little cost whatever the peer does."""

from __future__ import annotations

from collections import Counter

import hpack
import pytest

from protocols.errors import RemoteProtocolError
from protocols.http.codec import ResetReason
from protocols.http.h2_frames import ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR
from protocols.http.headers import Headers
from tests.support.http2_frames import FrameType, Setting, build_settings
from tests.unit.protocols.http.h2_wire import (
    OK,
    Http2Codec,
    Http2Recorder,
    Role,
    data,
    headers,
    rst,
    shape,
    window_update,
    written,
)
from tests.unit.protocols.http.recorder import idle

WINDOW = 65_535
BODY = bytes(number % 251 for number in range(300_000))


def initial_window(size: int) -> bytes:
    return build_settings((Setting.INITIAL_WINDOW_SIZE, size))


def bodies(codec: Http2Codec) -> list[tuple[int, int, int]]:
    """Stream, size and flags of each DATA frame; acknowledgements are left out."""
    return [
        (frame.stream_id, len(frame.payload), frame.flags)
        for frame in written(codec)
        if frame.type == FrameType.DATA
    ]


def test_a_body_larger_than_the_windows(role: Role) -> None:
    codec, sink = role.sending()
    codec.receive(window_update(1, 10**6))
    codec.send_data(1, BODY, False)
    frames = written(codec)
    assert [len(frame.payload) for frame in frames] == [16_384, 16_384, 16_384, 16_383]
    assert codec.unsent(1) == len(BODY) - WINDOW
    codec.receive(window_update(0, 100_000))
    frames += written(codec)
    assert codec.unsent(1) == len(BODY) - WINDOW - 100_000
    codec.send_data(1, b"the end", True)
    assert written(codec) == []
    codec.receive(window_update(0, 10**6))
    frames += written(codec)
    assert codec.unsent(1) == 0
    assert b"".join(frame.payload for frame in frames) == BODY + b"the end"
    assert [frame.flags for frame in frames] == [0] * (len(frames) - 1) + [1]
    assert max(len(frame.payload) for frame in frames) == 16_384
    codec.receive(data(1, b"", end=True))
    assert idle(codec)
    assert [event[0] for event in sink.take()] == ["writable", "data"]


@pytest.mark.parametrize("piece", [1, 999, 16_384, 16_385, 40_000])
def test_pieces_of_any_size(role: Role, piece: int) -> None:
    codec, _ = role.sending()
    codec.receive(initial_window(0))
    body = BODY[: 20 * piece if piece < 1000 else 100_000]
    for at in range(0, len(body), piece):
        codec.send_data(1, body[at : at + piece], False)
    codec.send_data(1, b"", True)
    assert bodies(codec) == []
    assert codec.unsent(1) == len(body)
    sent = b""
    codec.receive(window_update(0, 10**6))
    while codec.unsent(1):
        codec.receive(window_update(1, 777) + window_update(1, 20_000))
        for frame in written(codec):
            sent += frame.payload
    assert sent == body


def test_the_window_of_the_stream(role: Role) -> None:
    codec, _ = role.sending(2)
    codec.receive(initial_window(1000))
    codec.send_data(1, b"x" * 1000, False)
    codec.send_data(3, b"x" * 1500, False)
    assert bodies(codec) == [(1, 1000, 0), (3, 1000, 0)]
    codec.send_data(1, b"x", True)
    codec.receive(window_update(0, 5000))
    assert bodies(codec) == []
    codec.receive(window_update(3, 499))
    assert bodies(codec) == [(3, 499, 0)]
    codec.receive(window_update(1, 1))
    assert bodies(codec) == [(1, 1, 1)]
    codec.receive(window_update(3, 1))
    assert bodies(codec) == [(3, 1, 0)]
    assert (codec.unsent(1), codec.unsent(3)) == (0, 0)


def test_the_initial_window_goes_up(role: Role) -> None:
    codec, _ = role.sending()
    codec.receive(initial_window(0))
    codec.send_data(1, b"x" * 1000, True)
    codec.receive(initial_window(400))
    codec.receive(initial_window(399))
    codec.receive(initial_window(401))
    assert bodies(codec) == [(1, 400, 0), (1, 1, 0)]
    codec.receive(initial_window(2**31 - 1))
    assert bodies(codec) == [(1, 599, 1)]


def test_the_initial_window_goes_below_what_was_sent(role: Role) -> None:
    """The window is negative until the peer has made up for it (RFC 9113 section 6.9.2)."""
    codec, _ = role.sending()
    codec.send_data(1, b"x" * 1000, False)
    codec.receive(initial_window(100))
    assert bodies(codec) == [(1, 1000, 0)]
    codec.send_data(1, b"y", False)
    codec.receive(window_update(1, 900))
    assert bodies(codec) == []
    codec.receive(window_update(1, 1))
    assert bodies(codec) == [(1, 1, 0)]
    codec.receive(initial_window(0))
    codec.send_data(1, b"z", False)
    codec.receive(initial_window(101))
    assert bodies(codec) == [(1, 1, 0)]


def test_the_initial_window_of_streams_to_come(role: Role) -> None:
    codec, _ = role.fresh()
    codec.receive(initial_window(5))
    if role.head is OK:
        codec.send_headers(codec.new_stream(), Headers.request(b"POST", b"/", b"a"), False)
    else:
        codec.receive(headers(3, role.head))
        codec.send_headers(3, Headers.response(200), False)
    codec.take_output()
    codec.send_data(3, b"x" * 10, False)
    assert bodies(codec) == [(3, 5, 0)]


def test_the_initial_window_makes_a_window_too_large(role: Role) -> None:
    codec, _ = role.sending()
    codec.receive(window_update(1, 2**31 - 1 - WINDOW))
    with pytest.raises(RemoteProtocolError, match="stream_window_overflow") as caught:
        codec.receive(initial_window(WINDOW + 1))
    assert caught.value.h2_code == FLOW_CONTROL_ERROR


@pytest.mark.parametrize("with_trailers", [False, True])
@pytest.mark.parametrize("window", [0, 100])
def test_the_end_needs_no_window(role: Role, with_trailers: bool, window: int) -> None:
    """An empty frame and a field block are not flow-controlled, however negative the window is."""
    codec, _ = role.sending()
    codec.send_data(1, b"x" * 1000, False)
    codec.receive(initial_window(window))
    codec.take_output()
    codec.send_data(1, b"", False)
    if with_trailers:
        codec.send_trailers(1, Headers([(b"a", b"b")]))
        assert [frame[0] for frame in shape(written(codec))] == ["HEADERS"]
    else:
        codec.send_data(1, b"", True)
        assert bodies(codec) == [(1, 0, 1)]
    codec.receive(data(1, b"", end=True))
    assert idle(codec)


def test_an_end_behind_a_body_that_waits(role: Role) -> None:
    codec, _ = role.sending()
    codec.receive(initial_window(3))
    codec.take_output()
    codec.send_data(1, b"abcdef", False)
    codec.send_data(1, b"", True)
    assert bodies(codec) == [(1, 3, 0)]
    codec.receive(window_update(1, 3))
    assert bodies(codec) == [(1, 3, 1)]


def test_frames_get_larger_and_smaller_while_a_body_waits(role: Role) -> None:
    codec, _ = role.sending()
    codec.receive(window_update(1, 10**6))
    codec.send_data(1, BODY[:200_000], False)
    codec.take_output()
    codec.receive(build_settings((Setting.MAX_FRAME_SIZE, 50_000)) + window_update(0, 70_000))
    assert bodies(codec) == [(1, 50_000, 0), (1, 20_000, 0)]
    codec.receive(build_settings((Setting.MAX_FRAME_SIZE, 16_384)) + window_update(0, 20_000))
    assert bodies(codec) == [(1, 16_384, 0), (1, 3_616, 0)]


# --- told when there is room


def test_a_stream_is_writable_again_when_little_waits(role: Role) -> None:
    codec, sink = role.sending()
    codec.receive(initial_window(0))
    codec.send_data(1, b"x" * 200_000, False)
    codec.receive(window_update(0, 10**6) + window_update(1, 1))
    assert sink.take() == []  # nobody asked
    assert codec.unsent(1) == 199_999
    codec.receive(window_update(1, 199_999 - 65_537))
    assert sink.take() == []
    assert codec.unsent(1) == 65_537
    codec.receive(window_update(1, 1))
    assert sink.take() == [("writable", 1)]
    codec.receive(window_update(1, 1))
    assert sink.take() == []
    assert codec.unsent(1) == 65_535
    codec.receive(window_update(1, 1))
    assert sink.take() == []  # it never was full
    assert codec.unsent(1) == 65_534


@pytest.mark.parametrize(
    "opening", [initial_window(200_000), window_update(1, 200_000)], ids=["SETTINGS", "WINDOW_UPDATE"]
)
def test_whatever_opens_the_window_makes_writable(role: Role, opening: bytes) -> None:
    codec, sink = role.sending()
    codec.receive(window_update(0, 10**6) + initial_window(0))
    codec.send_data(1, b"x" * 200_000, False)
    assert codec.unsent(1) == 200_000
    codec.receive(opening)
    assert sink.take() == [("writable", 1)]


def test_more_is_sent_at_once_when_there_is_room(role: Role) -> None:
    """The sink sends from inside of `on_writable`, and gives another stream up."""
    codec, sink = role.sending(3)

    class Greedy(Http2Recorder):
        def on_writable(self, stream_id: int) -> None:
            super().on_writable(stream_id)
            codec.send_data(stream_id, b"more", True)
            codec.reset(8 - stream_id, ResetReason.LOCAL_RESET)

    codec._sink = greedy = Greedy()
    for stream_id in (1, 3, 5):
        codec.send_data(stream_id, b"x" * 100_000, False)
        assert codec.unsent(stream_id) > 0
    codec.receive(window_update(3, 10**6) + window_update(5, 10**6) + window_update(0, 10**6))
    assert [event for event in greedy.take() if event[0] == "writable"] == [("writable", 3)]
    assert codec.unsent(5) == 0
    assert not sink.events
    frames = written(codec)
    assert frames[-2].payload == b"more"
    assert (frames[-1].type, frames[-1].stream_id) == (FrameType.RST_STREAM, 5)


# --- many streams


def test_streams_take_turns(role: Role) -> None:
    codec, _ = role.sending(3)
    codec.receive(initial_window(10**6))
    for stream_id in (1, 3, 5):
        codec.send_data(stream_id, BODY[:100_000], True)
    codec.take_output()
    codec.receive(window_update(0, 16_384 * 6))
    assert [stream_id for stream_id, _, _ in bodies(codec)] == [1, 3, 5, 1, 3, 5]


@pytest.mark.parametrize("increment", [1, 1000, 16_384, 16_385, 20_000, 50_000, 70_000])
def test_no_stream_starves(role: Role, increment: int) -> None:
    """However little the peer opens the window of the connection each time."""
    codec, _ = role.sending(4)
    codec.receive(initial_window(10**6))
    for stream_id in (1, 3, 5, 7):
        codec.send_data(stream_id, BODY, False)
    codec.take_output()
    sent: Counter[int] = Counter()
    for _ in range(12):
        codec.receive(window_update(0, increment))
        for stream_id, size, _ in bodies(codec):
            sent[stream_id] += size
        codec._guard.on_data_sent(100)  # the peer is allowed this
    assert sum(sent.values()) == 12 * increment
    assert max(sent.values()) - min(sent[each] for each in (1, 3, 5, 7)) <= 2 * min(increment, 16_384)


def test_a_stream_that_waits_for_its_own_window_is_passed_over(role: Role) -> None:
    codec, _ = role.sending(2)
    codec.receive(initial_window(0))
    codec.send_data(1, b"x" * 100, False)
    codec.send_data(3, b"x" * 100, False)
    codec.receive(window_update(3, 50))
    codec.receive(window_update(0, 1))
    assert bodies(codec) == [(3, 50, 0)]
    codec.receive(window_update(1, 1))
    assert bodies(codec) == [(1, 1, 0)]


@pytest.mark.parametrize("by_peer", [False, True])
def test_what_waits_on_a_stream_that_ends_is_dropped(role: Role, by_peer: bool) -> None:
    codec, sink = role.sending(2)
    codec.send_data(1, BODY[:100_000], False)
    codec.send_data(3, b"hello", True)
    codec.take_output()
    if by_peer:
        codec.receive(rst(1, 8))
    else:
        codec.reset(1, ResetReason.LOCAL_RESET)
    codec.take_output()
    assert codec.unsent(1) == 0
    sink.take()
    codec.receive(window_update(0, 10**6))
    assert bodies(codec) == [(3, 5, 1)]
    assert sink.take() == []


# --- trailers


def test_trailers_wait_behind_the_body(role: Role) -> None:
    codec, _ = role.sending()
    codec.receive(initial_window(3))
    codec.take_output()
    codec.send_data(1, b"abcdef", False)
    codec.send_trailers(1, Headers([(b"a", b"b")]))
    assert bodies(codec) == [(1, 3, 0)]
    codec.receive(data(1, b"", end=True))
    assert not idle(codec)
    codec.receive(window_update(1, 3))
    assert shape(written(codec))[0] == ("DATA", 0, 1, 3)
    assert idle(codec)


def test_trailers_are_encoded_when_they_are_written(role: Role) -> None:
    """Blocks of other streams leave before them: the peer's table must see them in this order."""
    codec, _ = role.sending(3)
    decoder = hpack.Decoder()
    codec.send_trailers(5, Headers([(b"x-first", b"1")]))
    trailers = [frame.payload for frame in written(codec)]
    codec.receive(initial_window(3))
    codec.take_output()
    codec.send_data(1, b"abcdef", False)
    codec.send_trailers(1, Headers([(b"x-late", b"1"), (b"x-first", b"1")]))
    codec.take_output()
    codec.send_trailers(3, Headers([(b"x-early", b"1"), (b"x-late", b"1")]))
    trailers += [frame.payload for frame in written(codec)]
    codec.receive(
        build_settings((Setting.HEADER_TABLE_SIZE, 0)) + build_settings((Setting.HEADER_TABLE_SIZE, 4096))
    )
    codec.receive(window_update(1, 3))
    trailers += [frame.payload for frame in written(codec) if frame.type == FrameType.HEADERS]
    assert trailers[2][:1] == b"\x20"  # the table was empty for a while
    # The responses and requests before them left nothing in the table that these refer to.
    assert [list(decoder.decode(block, raw=True)) for block in trailers] == [
        [(b"x-first", b"1")],
        [(b"x-early", b"1"), (b"x-late", b"1")],
        [(b"x-late", b"1"), (b"x-first", b"1")],
    ]


# --- what a peer may cost


def test_streams_whose_own_window_is_closed_are_not_looked_at(
    role: Role,
) -> None:
    """However many wait: a window of the connection that helps none of them costs nothing."""
    codec, _ = role.sending(50)
    codec.receive(initial_window(0))
    for number in range(50):
        codec.send_data(2 * number + 1, b"abc", True)
    codec.take_output()
    for _ in range(10):
        codec.receive(window_update(0, 1))
        codec.receive(build_settings())
        assert codec._blocked == {}  # these are looked at
        assert len(codec._stalled) == 50
    codec.receive(window_update(7, 3))
    assert 7 not in codec._stalled
    assert len(codec._stalled) == 49
    assert bodies(codec) == [(7, 3, 1)]
    codec.receive(initial_window(3))
    assert sorted(bodies(codec)) == [(2 * number + 1, 3, 1) for number in range(50) if number != 3]


def test_too_many_entries_in_settings(role: Role) -> None:
    codec, _ = role.sending()
    codec.receive(build_settings(*[(Setting.INITIAL_WINDOW_SIZE, size) for size in range(32)]))
    with pytest.raises(RemoteProtocolError, match="SETTINGS:_too_many_entries") as caught:
        codec.receive(build_settings(*[(Setting.INITIAL_WINDOW_SIZE, size) for size in range(33)]))
    assert caught.value.h2_code == ENHANCE_YOUR_CALM


def test_windows_that_change_all_the_time(role: Role) -> None:
    codec, _ = role.sending()
    with pytest.raises(RemoteProtocolError, match="inbound_window_update_frames_flood"):
        for size in range(1000):
            codec.flushed()
            codec.receive(initial_window(size))


def test_only_the_last_window_of_a_frame_counts(role: Role) -> None:
    codec, _ = role.sending()
    codec.send_data(1, BODY, False)
    codec.take_output()
    codec.receive(
        build_settings((Setting.INITIAL_WINDOW_SIZE, 2**31 - 1), (Setting.INITIAL_WINDOW_SIZE, WINDOW))
    )
    assert bodies(codec) == []
