"""Frames as bytes, and what a client has said by sending them."""

from __future__ import annotations

import pytest

from tests.support.http2_frames import (
    ACK,
    END_HEADERS,
    PREFACE,
    Frame,
    FrameTooLong,
    FrameType,
    SentFrames,
    Setting,
    build_frame,
    build_settings,
    error_name,
    increment_streams,
    parse_settings,
    take_frame,
)


def test_a_frame_comes_back_as_it_was_built() -> None:
    payload = bytes(70000)
    buffer = bytearray(build_frame(FrameType.DATA, 9, 5, payload) + b"rest")
    assert take_frame(buffer) == Frame(FrameType.DATA, 9, 5, payload)
    assert buffer == b"rest"
    assert take_frame(buffer) is None


def test_a_frame_is_taken_only_when_it_is_whole() -> None:
    data = build_frame(FrameType.PING, 0, 0, b"12345678")
    for end in range(len(data)):
        assert take_frame(bytearray(data[:end])) is None


def test_the_reserved_bit_is_no_part_of_the_stream_id() -> None:
    frame = take_frame(bytearray(build_frame(FrameType.DATA, 0, 0x80000003)))
    assert frame is not None
    assert frame.stream_id == 3


def test_a_frame_that_is_too_long_is_known_by_its_header() -> None:
    header = build_frame(FrameType.DATA, 0, 1, bytes(11))[:9]
    assert take_frame(bytearray(header), 11) is None
    with pytest.raises(FrameTooLong):
        take_frame(bytearray(header), 10)


def test_settings() -> None:
    frame = take_frame(bytearray(build_settings((4, 0), (1, 2**32 - 1))))
    assert frame is not None
    assert parse_settings(frame.payload) == [(4, 0), (1, 2**32 - 1)]
    assert parse_settings(frame.payload[:-1]) == []


def test_error_names() -> None:
    assert [error_name(0), error_name(0xB), error_name(0xD)] == [
        "NO_ERROR",
        "ENHANCE_YOUR_CALM",
        "HTTP_1_1_REQUIRED",
    ]
    assert error_name(0x99) == "0x99"


def test_stream_ids_are_incremented_but_not_those_of_the_connection() -> None:
    data = build_frame(FrameType.PING, 0, 0, bytes(8)) + build_frame(FrameType.HEADERS, 5, 1, b"x")
    assert increment_streams(data, 4) == build_frame(FrameType.PING, 0, 0, bytes(8)) + build_frame(
        FrameType.HEADERS, 5, 5, b"x"
    )


def _sent(*frames: bytes) -> SentFrames:
    sent = SentFrames()
    for each in (PREFACE, *frames):
        for position in range(len(each)):
            sent.feed(each[position : position + 1])
    return sent


def test_what_a_client_has_said() -> None:
    sent = _sent(
        build_settings((Setting.INITIAL_WINDOW_SIZE, 0)),
        build_frame(FrameType.SETTINGS, ACK, 0),
        build_frame(FrameType.HEADERS, END_HEADERS, 1),
        build_frame(FrameType.HEADERS, END_HEADERS, 1),
        build_frame(FrameType.RST_STREAM, 0, 7, bytes(4)),
        build_frame(FrameType.WINDOW_UPDATE, 0, 0, (5).to_bytes(4, "big")),
        build_frame(FrameType.WINDOW_UPDATE, 0, 1, (6).to_bytes(4, "big")),
        build_frame(FrameType.WINDOW_UPDATE, 0, 1, (7).to_bytes(4, "big")),
    )
    assert sent.opened == {1}
    assert sent.credit == {0: 5, 1: 13}
    assert list(sent.unacknowledged) == [[(Setting.INITIAL_WINDOW_SIZE, 0)]]


@pytest.mark.parametrize(
    ("frames", "at_boundary"),
    [
        ([], False),
        ([build_settings()], True),
        ([build_settings()[:-1]], False),
        ([build_frame(FrameType.HEADERS, END_HEADERS, 1)], True),
        ([build_frame(FrameType.HEADERS, 0, 1)], False),
        ([build_frame(FrameType.HEADERS, 0, 1), build_frame(FrameType.CONTINUATION, 0, 1)], False),
        ([build_frame(FrameType.HEADERS, 0, 1), build_frame(FrameType.CONTINUATION, END_HEADERS, 1)], True),
    ],
)
def test_where_another_frame_may_follow(frames: list[bytes], at_boundary: bool) -> None:
    assert _sent(*frames).at_boundary is at_boundary
