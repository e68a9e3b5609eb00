"""The windows that we open, both roles: what was taken is credited, and nothing is taken that has no room."""

from __future__ import annotations

import pytest

from protocols.errors import RemoteProtocolError
from protocols.http.h2_frames import FLOW_CONTROL_ERROR
from tests.support.http2_frames import FrameType
from tests.unit.protocols.http.h2_wire import (
    Role,
    data,
    headers,
    rst,
    window_update,
    with_http2,
    written,
)

WINDOW = 65_535


def test_windows_are_opened_again_when_half_is_used(role: Role) -> None:
    settings = with_http2(initial_stream_window_size=1000, initial_connection_window_size=WINDOW)
    codec, sink = role.begun(settings)
    codec.receive(data(1, b"x" * 600))
    codec.credit(1, 499)
    assert codec.take_output() == b""
    codec.credit(1, 1)
    assert codec.take_output() == window_update(1, 500)
    codec.credit(1, 100)
    assert codec.take_output() == b""
    codec.receive(data(1, b"x" * 900))
    codec.credit(1, 900)
    assert codec.take_output() == window_update(1, 1000)
    sink.take()


def test_the_window_of_the_connection_is_that_of_all_streams(role: Role) -> None:
    codec, _ = role.sending(2, with_http2(initial_connection_window_size=WINDOW))
    for stream_id in (1, 3):
        codec.receive(data(stream_id, b"x" * 16_383))
        codec.credit(stream_id, 16_383)
    assert codec.take_output() == b""
    codec.receive(data(1, b"x"))
    codec.credit(1, 1)
    assert codec.take_output() == b""
    codec.receive(data(3, b"x"))
    codec.credit(3, 1)
    assert codec.take_output() == window_update(0, 32_768)
    codec.receive(data(1, b"x" * 16_383) * 3)
    with pytest.raises(RemoteProtocolError, match="DATA:_connection_window_exceeded") as caught:
        codec.receive(data(1, b"x" * 16_384) * 2)
    assert caught.value.h2_code == FLOW_CONTROL_ERROR


def test_a_stream_that_is_held_back_does_not_starve_others(role: Role) -> None:
    """It keeps most of the connection's window: the rest is opened again in time, in steps that are not silly."""
    codec, _ = role.sending(2, with_http2(initial_connection_window_size=WINDOW))
    codec.receive(data(1, b"x" * 15_000) * 4)  # of which nobody takes any
    room, updates = WINDOW - 60_000, 0
    for _ in range(100):
        assert room >= 1000
        codec.receive(data(3, b"x" * 1000))
        codec.credit(3, 1000)
        room -= 1000
        for frame in written(codec):
            assert (frame.type, frame.stream_id) == (FrameType.WINDOW_UPDATE, 0)
            room += int.from_bytes(frame.payload, "big")
            updates += 1
    assert updates <= 34


def test_nothing_is_not_credited(role: Role) -> None:
    """An update by nothing would break the connection, also when the window is used up."""
    codec, _ = role.begun(with_http2(initial_connection_window_size=WINDOW))
    codec.receive(data(1, b"x" * 13_107) * 5)
    codec.credit(1, 0)
    assert codec.take_output() == b""
    codec.credit(1, 1)
    assert codec.take_output() == window_update(0, 1)


def test_a_body_that_has_ended_opens_only_the_connection(role: Role) -> None:
    settings = with_http2(initial_stream_window_size=1000, initial_connection_window_size=WINDOW)
    codec, _ = role.sending(40, settings)
    for number in range(40):
        codec.receive(data(2 * number + 1, b"x" * 1000, end=True))
        codec.credit(2 * number + 1, 1000)
    assert codec.take_output() == window_update(0, 33_000)


@pytest.mark.parametrize("pad", [None, 0, 10])
def test_the_window_of_a_stream_is_exceeded(role: Role, pad: int | None) -> None:
    """Padding counts, its length too."""
    extra = 0 if pad is None else pad + 1
    codec, _ = role.begun(with_http2(initial_stream_window_size=1000))
    codec.receive(data(1, b"x" * (1000 - extra), pad=pad))
    codec, _ = role.begun(with_http2(initial_stream_window_size=1000))
    with pytest.raises(RemoteProtocolError, match="DATA:_stream_window_exceeded") as caught:
        codec.receive(data(1, b"x" * (1001 - extra), pad=pad))
    assert caught.value.h2_code == FLOW_CONTROL_ERROR


def test_padding_is_credited_by_itself(role: Role) -> None:
    codec, _ = role.begun(with_http2(initial_stream_window_size=1000))
    codec.receive(data(1, b"x", pad=200) * 2)
    assert codec.take_output() == b""
    codec.credit(1, 2)
    codec.receive(data(1, b"x", pad=200))
    assert codec.take_output() == window_update(1, 3 * 201 + 2)


def test_a_body_that_is_refused_is_credited(role: Role) -> None:
    """What nobody was told of nobody can take."""
    codec, sink = role.fresh(with_http2(initial_connection_window_size=WINDOW))
    codec.receive(headers(1, [*role.head, (b"content-length", b"5")]))
    codec.receive(data(1, b"x" * 16_384) + data(1, b"x" * 16_000, pad=0) + data(1, b"x" * 1000))
    assert codec.take_output() == rst(1, 1) + window_update(0, 16_384 + 16_001 + 1000)
    assert [event[0] for event in sink.take()] == ["headers", "reset"]
