"""Frames as they are written: judged by `hyperframe`, and by what RFC 9113 draws."""

from __future__ import annotations

import pytest
from hyperframe import frame as judge

from protocols.http import h2_frames as frames
from tests.unit.protocols.http.h2_wire import read_frames, shape


def parse(text: bytes) -> list[judge.Frame]:
    """Every frame, and nothing left over."""
    found = []
    while text:
        frame, size = judge.Frame.parse_frame_header(memoryview(text[:9]))
        end = 9 + size
        assert len(text) >= end
        frame.parse_body(memoryview(text[9:end]))
        found.append(frame)
        text = text[end:]
    return found


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_535, 65_536, (1 << 24) - 1])
def test_the_nine_bytes_in_front(size: int) -> None:
    text = frames.header(size, 0xAB, 0xCD, frames.MAX_STREAM_ID)
    assert text == size.to_bytes(3, "big") + b"\xab\xcd\x7f\xff\xff\xff"
    high, low, kind, flags, stream_id = frames.unpack_header(text, 0)
    assert (high << 8 | low, kind, flags, stream_id) == (size, 0xAB, 0xCD, frames.MAX_STREAM_ID)


def test_settings_keep_their_order_and_come_back() -> None:
    values = {4: 2**31 - 1, 1: 0, 0xFFFF: 2**32 - 1}
    text = frames.settings(values)
    (frame,) = parse(text)
    assert isinstance(frame, judge.SettingsFrame)
    assert frame.settings == values
    assert frames.read_settings(text[9:]) == list(values.items())
    assert parse(frames.settings({}))[0].body_len == 0


def test_a_setting_told_twice_is_read_twice() -> None:
    assert frames.read_settings(frames.settings({4: 1})[9:] + frames.settings({4: 2})[9:]) == [(4, 1), (4, 2)]


def test_the_acknowledgement() -> None:
    (frame,) = parse(frames.SETTINGS_ACK)
    assert isinstance(frame, judge.SettingsFrame)
    assert set(frame.flags) == {"ACK"}


@pytest.mark.parametrize(("stream_id", "increment"), [(0, 1), (5, 2**31 - 1)])
def test_window_update(stream_id: int, increment: int) -> None:
    (frame,) = parse(frames.window_update(stream_id, increment))
    assert isinstance(frame, judge.WindowUpdateFrame)
    assert (frame.stream_id, frame.window_increment) == (stream_id, increment)


def test_reset() -> None:
    (frame,) = parse(frames.rst_stream(7, frames.ENHANCE_YOUR_CALM))
    assert isinstance(frame, judge.RstStreamFrame)
    assert (frame.stream_id, frame.error_code) == (7, 11)


@pytest.mark.parametrize("ack", [True, False])
def test_ping(ack: bool) -> None:
    (frame,) = parse(frames.ping(b"12345678", ack=ack))
    assert isinstance(frame, judge.PingFrame)
    assert (frame.opaque_data, "ACK" in frame.flags) == (b"12345678", ack)


@pytest.mark.parametrize("debug", [b"", b"why"])
def test_goaway(debug: bytes) -> None:
    text = frames.goaway(frames.MAX_STREAM_ID, frames.COMPRESSION_ERROR, debug)
    (frame,) = parse(text)
    assert isinstance(frame, judge.GoAwayFrame)
    assert (frame.last_stream_id, frame.error_code, frame.additional_data) == (2**31 - 1, 9, debug)
    assert frames.unpack_goaway(text[9:]) == (2**31 - 1, 9)


@pytest.mark.parametrize("end", [True, False])
@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 19, 20, 21, 30, 35])
def test_a_block_is_cut_where_it_must_be(size: int, end: bool) -> None:
    block = bytes(range(size))
    found = read_frames(frames.headers(3, block, end, 10))
    assert b"".join(frame.payload for frame in found) == block
    assert [frame.type for frame in found] == [frames.HEADERS] + [frames.CONTINUATION] * (len(found) - 1)
    assert len(found) == max(1, -(-size // 10))
    assert {frame.stream_id for frame in found} == {3}
    assert [bool(frame.flags & frames.END_HEADERS) for frame in found] == [False] * (len(found) - 1) + [True]
    assert bool(found[0].flags & frames.END_STREAM) is end
    assert not any(frame.flags & frames.END_STREAM for frame in found[1:])


def test_a_block_of_many_frames_is_what_the_library_reads() -> None:
    found = parse(frames.headers(1, bytes(40_000), True, frames.DEFAULT_FRAME_SIZE))
    assert [type(frame) for frame in found] == [
        judge.HeadersFrame,
        judge.ContinuationFrame,
        judge.ContinuationFrame,
    ]
    assert shape(read_frames(frames.headers(1, bytes(16_384), False, 16_384))) == [
        ("HEADERS", frames.END_HEADERS, 1, 16_384)
    ]


def test_the_numbers_are_those_of_the_rfc() -> None:
    kinds = [
        "DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE",
        "CONTINUATION",
    ]  # fmt: skip
    assert [getattr(frames, kind) for kind in kinds] == list(range(10))
    settings = [
        "HEADER_TABLE_SIZE", "ENABLE_PUSH", "MAX_CONCURRENT_STREAMS", "INITIAL_WINDOW_SIZE", "MAX_FRAME_SIZE",
    ]  # fmt: skip
    assert [getattr(frames, setting) for setting in settings] == [1, 2, 3, 4, 5]
    preface = frames.PREFACE
    assert preface == bytes.fromhex("505249202a20485454502f322e300d0a0d0a534d0d0a0d0a")
