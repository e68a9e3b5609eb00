"""gRPC-Web: trailers as a message, base64 in segments."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import RemoteProtocolError
from protocols.grpc.framing import frame
from protocols.grpc.web import TextDecoder, TextEncoder, trailers_frame
from protocols.http.headers import Headers


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted(place % (len(data) + 1) for place in cuts)
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


CUTS = st.lists(st.integers(0, 1000), max_size=12)
MESSAGES = st.lists(st.binary(max_size=30), max_size=5)


def test_trailers() -> None:
    trailers = Headers([(b"grpc-status", b"0"), (b"x-a", b"1"), (b"x-a", b"2"), (b"x-e", b"")])
    assert trailers_frame(trailers) == b"\x80\x00\x00\x00\x23grpc-status:0\r\nx-a:1\r\nx-a:2\r\nx-e:\r\n"
    assert trailers_frame(Headers()) == b"\x80\x00\x00\x00\x00"


class TestEncoder:
    @given(MESSAGES, CUTS)
    def test_each_message_is_a_segment_wherever_it_is_cut(
        self, messages: list[bytes], cuts: list[int]
    ) -> None:
        frames = [frame(message) for message in messages]
        encoder = TextEncoder()
        text = b"".join(encoder.feed(piece) for piece in cut(b"".join(frames), cuts))
        assert text + encoder.finish() == b"".join(map(base64.b64encode, frames))

    @given(st.binary(max_size=60), CUTS)
    def test_whatever_comes_can_be_read_again(self, data: bytes, cuts: list[int]) -> None:
        encoder, decoder = TextEncoder(), TextDecoder()
        text = b"".join(encoder.feed(piece) for piece in cut(data, cuts)) + encoder.finish()
        assert decoder.feed(text) == data
        decoder.finish()

    def test_message_goes_out_when_it_is_whole(self) -> None:
        encoder = TextEncoder()
        message = frame(b"hello")  # ten bytes
        assert encoder.feed(message[:2]) == b""
        assert encoder.feed(message[2:9]) == base64.b64encode(message[:9])
        assert encoder.feed(message[9:]) == base64.b64encode(message[9:])
        assert encoder.feed(frame(b"")) == base64.b64encode(frame(b""))
        assert encoder.finish() == b""

    def test_long_message_is_not_kept(self) -> None:
        encoder = TextEncoder()
        encoder.feed(b"\x00\x7f\xff\xff\xff")
        assert len(encoder.feed(bytes(300_000))) >= 400_000


class TestDecoder:
    @given(st.lists(st.binary(max_size=30), max_size=5), CUTS)
    def test_padded_segments_in_any_pieces(self, segments: list[bytes], cuts: list[int]) -> None:
        decoder = TextDecoder()
        text = b"".join(map(base64.b64encode, segments))
        assert b"".join(decoder.feed(piece) for piece in cut(text, cuts)) == b"".join(segments)
        decoder.finish()

    def test_byte_by_byte(self) -> None:
        decoder = TextDecoder()
        assert [decoder.feed(bytes((each,))) for each in b"YWJj"] == [b"", b"", b"", b"abc"]

    @pytest.mark.parametrize(
        "text",
        [
            b"AA*A", b"AA-_", b"AAA\n", b" AAA", b"A===", b"====", b"=AAA", b"A=AA", b"AA=A", b"AB==", b"AAB=", b"AAAA====",
            b"AA==A===", b"\xff\xff\xff\xff", b"AAA=AA=A", b"AAAAA===",
        ],
    )  # fmt: skip
    def test_what_is_not_base64(self, text: bytes) -> None:
        with pytest.raises(RemoteProtocolError, match=r"^grpc_base_64_decode_failed$"):
            TextDecoder().feed(text)

    @pytest.mark.parametrize("text", [b"A", b"AA", b"AAA", b"AAAAA", b"AA==A", b"AA=", b"AAAA="])
    def test_text_that_ends_too_early(self, text: bytes) -> None:
        decoder = TextDecoder()
        decoder.feed(text)
        with pytest.raises(RemoteProtocolError, match=r"^grpc_base_64_decode_failed_bad_size$"):
            decoder.finish()

    def test_nothing(self) -> None:
        decoder = TextDecoder()
        assert decoder.feed(b"") == b""
        decoder.finish()

    @given(st.text(alphabet="AB=/+*\n", max_size=24), CUTS)
    def test_cuts_do_not_matter(self, text: str, cuts: list[int]) -> None:
        def decode(pieces: list[bytes]) -> bytes | str:
            decoder = TextDecoder()
            try:
                found = b"".join(decoder.feed(piece) for piece in pieces)
                decoder.finish()
            except RemoteProtocolError as error:
                return error.details
            return found

        whole, cut_up = decode([text.encode()]), decode(cut(text.encode(), cuts))
        assert cut_up == whole
