"""Messages in pieces cut anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import RemoteProtocolError
from protocols.grpc.framing import COMPRESSED, Message, MessageCounter, MessageDecoder, frame


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Message], bytes, list[bytes]]:
    """Messages, all their bytes, and these cut into pieces, of which some are empty."""
    messages = draw(st.lists(st.builds(Message, st.integers(0, 255), st.binary(max_size=40)), max_size=6))
    whole = b"".join(frame(message.data, message.flag) for message in messages)
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    return messages, whole, pieces


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


class TestCounter:
    @given(streams())
    def test_cuts_do_not_matter(self, stream: tuple[list[Message], bytes, list[bytes]]) -> None:
        messages, whole, pieces = stream
        for fed in ([whole], pieces, bytewise(whole)):
            counter = MessageCounter()
            assert sum(counter.feed(piece) for piece in fed) == counter.count == len(messages)
            assert counter.between_messages

    @given(streams(), st.integers(0, 200))
    def test_a_message_counts_from_its_first_byte_on(
        self, stream: tuple[list[Message], bytes, list[bytes]], size: int
    ) -> None:
        messages, whole, _ = stream
        counter = MessageCounter()
        counter.feed(whole[:size])
        begins, at = 0, 0
        for message in messages:
            begins += at < size
            at += 5 + len(message.data)
        assert counter.count == begins
        ends = {0}
        for message in messages:
            ends.add(max(ends) + 5 + len(message.data))
        assert counter.between_messages is (min(size, len(whole)) in ends)

    def test_pieces_tell_how_many_began_in_them(self) -> None:
        counter = MessageCounter()
        assert counter.feed(frame(b"one") + frame(b"two")[:1]) == 2
        assert counter.feed(frame(b"two")[1:6]) == 0
        assert counter.feed(b"") == 0
        assert counter.feed(frame(b"two")[6:] + frame(b"") + frame(b"")) == 2
        assert counter.count == 4

    def test_long_message_is_skipped(self) -> None:
        counter = MessageCounter()
        counter.feed(b"\x00\xff\xff\xff\xff")
        for _ in range(10):
            assert counter.feed(bytes(100_000)) == 0
        assert counter.left == 0xFFFFFFFF - 1_000_000


class TestDecoder:
    @given(streams())
    def test_cuts_do_not_matter(self, stream: tuple[list[Message], bytes, list[bytes]]) -> None:
        messages, whole, pieces = stream
        for fed in ([whole], pieces, bytewise(whole)):
            decoder = MessageDecoder(40)
            assert [message for piece in fed for message in decoder.feed(piece)] == messages
            assert decoder.between_messages

    def test_messages_are_given_as_soon_as_they_are_whole(self) -> None:
        decoder = MessageDecoder(10)
        assert decoder.feed(frame(b"one", COMPRESSED) + frame(b"two")[:-1]) == [(COMPRESSED, b"one")]
        assert not decoder.between_messages
        assert decoder.feed(b"o") == [(0, b"two")]
        assert decoder.between_messages

    @pytest.mark.parametrize(
        "pieces", [[frame(b"12345")], bytewise(frame(b"12345")), [frame(b"") + frame(b"12345")[:5]]]
    )
    def test_too_long_a_message(self, pieces: list[bytes]) -> None:
        decoder = MessageDecoder(4)
        with pytest.raises(RemoteProtocolError, match="message_too_large"):
            for piece in pieces:
                decoder.feed(piece)

    def test_too_long_a_message_is_refused_by_its_prefix(self) -> None:
        with pytest.raises(RemoteProtocolError):
            MessageDecoder(1_000_000).feed(b"\x00\xff\xff\xff\xff")

    def test_longest_message(self) -> None:
        assert MessageDecoder(4).feed(frame(b"1234")) == [(0, b"1234")]
