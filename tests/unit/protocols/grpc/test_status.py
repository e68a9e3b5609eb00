"""What gRPC says in headers. Expected values: the protocol description, and what Envoy 1.40 did."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.grpc.status import (
    INVALID_CODE,
    GrpcStatus,
    decode_message,
    encode_message,
    format_timeout,
    from_http,
    has_grpc_content_type,
    is_grpc_request,
    is_grpc_response,
    may_become_grpc,
    parse_status,
    parse_timeout_ms,
    service_and_method,
    status_of,
    to_http,
)
from protocols.http.headers import Headers


def request(*content_types: bytes, path: bytes = b"/a.B/C") -> Headers:
    return Headers.request(b"POST", path, b"host", [(b"content-type", each) for each in content_types])


class TestStatus:
    @pytest.mark.parametrize(
        ("http", "grpc"),
        [(400, 13), (401, 16), (403, 7), (404, 12), (429, 14), (502, 14), (503, 14), (504, 14)],
    )
    def test_from_http(self, http: int, grpc: int) -> None:
        assert from_http(http) == grpc

    @pytest.mark.parametrize("http", [200, 204, 301, 408, 409, 418, 500, 501, 505, 0])
    def test_any_other_is_unknown(self, http: int) -> None:
        assert from_http(http) == GrpcStatus.UNKNOWN

    def test_to_http(self) -> None:
        assert [to_http(status) for status in range(17)] == [
            200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401
        ]  # fmt: skip
        assert to_http(17) == to_http(INVALID_CODE) == 500

    @pytest.mark.parametrize(
        ("value", "status"),
        [
            (b"0", 0), (b"16", 16), (b"17", 17), (b"007", 7), (b"4294967295", 4294967295), (b"0" * 9000 + b"5", 5),
            (b"", -1), (b"x", -1), (b"-1", -1), (b"0x3", -1), (b"1_0", -1), (b"\xd9\xa3", -1), (b"3 ", -1), (b"9" * 5000, -1),
        ],
    )  # fmt: skip
    def test_parse(self, value: bytes, status: int) -> None:
        assert parse_status(value) == status

    def test_trailers_come_before_the_head_and_that_before_http(self) -> None:
        head = Headers.response(200, [(b"grpc-status", b"4")])
        assert status_of(Headers([(b"grpc-status", b"0")]), head, 200) == 0
        assert status_of(Headers([(b"grpc-status", b"x")]), head, 200) == INVALID_CODE
        assert status_of(Headers([(b"grpc-status", b"")]), head, 200) == 4
        assert status_of(None, head, 200) == 4
        assert status_of(Headers(), Headers.response(404), 404) == 12
        assert status_of(None, Headers.response(200), 200) == 2

    def test_no_response(self) -> None:
        assert status_of(None, None, 0) is None


class TestMessage:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            (b"what is wrong", b"what is wrong"),
            (b"50% ~", b"50%25 %7E"),
            ('\u00e4\n\t"}|'.encode(), b'%C3%A4%0A%09"}|'),
            (b"\x00\x7f\xff", b"%00%7F%FF"),
        ],
    )
    def test_encode(self, text: bytes, value: bytes) -> None:
        assert encode_message(text) == value
        assert decode_message(value) == text

    @given(st.binary())
    def test_any_bytes_are_a_header_value_and_come_back(self, text: bytes) -> None:
        value = encode_message(text)
        assert value.decode("ascii").isprintable()
        assert decode_message(value) == text

    @pytest.mark.parametrize(
        ("value", "text"), [(b"100%", b"100%"), (b"%2", b"%2"), (b"%zz%41%61%c3", b"%zzAa\xc3")]
    )
    def test_what_is_not_encoded_well_stays(self, value: bytes, text: bytes) -> None:
        assert decode_message(value) == text


class TestContentType:
    @pytest.mark.parametrize(
        ("content_types", "expected"),
        [
            ([b"application/grpc"], True),
            ([b"application/grpc+proto"], True),
            ([b"application/grpc+"], True),
            ([b"application/grpc-web"], False),
            ([b"application/grpc; charset=utf-8"], False),
            ([b"application/grpcx"], False),
            ([b"application/grp"], False),
            ([b"Application/grpc"], False),
            ([b"text/plain"], False),
            ([], False),
            ([b"application/grpc", b"application/grpc"], False),
            ([b"application/grpc+proto", b"text/plain"], True),  # `+proto,text/plain`
        ],
    )
    def test_content_type(self, content_types: list[bytes], expected: bool) -> None:
        assert has_grpc_content_type(request(*content_types)) is expected
        assert is_grpc_request(request(*content_types)) is expected
        assert not is_grpc_request(request(*content_types, path=b""))

    def test_what_may_become_grpc(self) -> None:
        assert may_become_grpc(request(b"application/grpc"))
        assert may_become_grpc(request(b"application/grpc-web-text"))
        assert not may_become_grpc(request(b"application/json"))
        assert not may_become_grpc(request())

    def test_response(self) -> None:
        fields = [(b"content-type", b"application/grpc")]
        assert is_grpc_response(Headers.response(200, fields), False)
        assert not is_grpc_response(Headers.response(503, fields), False)
        assert not is_grpc_response(Headers.response(200), False)

    def test_response_without_a_body_is_known_by_its_status(self) -> None:
        assert is_grpc_response(Headers.response(503, [(b"grpc-status", b"0")]), True)
        assert not is_grpc_response(Headers.response(200, [(b"content-type", b"application/grpc")]), True)


@pytest.mark.parametrize(
    ("path", "called"),
    [
        (b"/pkg.Svc/Method", ("pkg.Svc", "Method")),
        (b"/Svc/Method?a=/b", ("Svc", "Method")),
        (b"//Svc/Method", ("Svc", "Method")),
        (b"/Svc/Method/", ("Svc", "Method")),
        (b"/a:b/c%d", ("a:b", "c%d")),
        (b"/Svc", None),
        (b"/Svc/Method/x", None),
        (b"/", None),
        (b"", None),
        (b"/a?b/c", None),
    ],
)
def test_service_and_method(path: bytes, called: tuple[str, str] | None) -> None:
    assert service_and_method(path) == called


class TestTimeout:
    @pytest.mark.parametrize(
        ("value", "timeout_ms"),
        [
            (b"0m", 0), (b"1H", 3_600_000), (b"2M", 120_000), (b"3S", 3_000), (b"4m", 4), (b"00000005S", 5_000),
            (b"1u", 1), (b"1000u", 1), (b"1001u", 2), (b"0u", 0), (b"1n", 1), (b"1000000n", 1), (b"1000001n", 2),
            (b"99999999H", 359_999_996_400_000), (b"99999999n", 100),
        ],
    )  # fmt: skip
    def test_parse(self, value: bytes, timeout_ms: int) -> None:
        assert parse_timeout_ms(value) == timeout_ms

    @pytest.mark.parametrize(
        "value",
        [
            b"",
            b"m",
            b"5",
            b"5s",
            b"5h",
            b"-5S",
            b"+5S",
            b" 5S",
            b"5S ",
            b"5.0S",
            b"5 S",
            b"123456789S",
            b"\xd9\xa3S",
            b"5SS",
        ],
    )
    def test_what_is_no_timeout(self, value: bytes) -> None:
        assert parse_timeout_ms(value) is None

    @pytest.mark.parametrize(
        ("timeout_ms", "value"),
        [
            (0, b"0m"), (15_000, b"15000m"), (99_999_999, b"99999999m"), (100_000_000, b"100000S"),
            (100_000_000_000, b"1666666M"), (6_000_000_000_000, b"1666666H"), (10**18, b"99999999H"),
        ],
    )  # fmt: skip
    def test_format(self, timeout_ms: int, value: bytes) -> None:
        assert format_timeout(timeout_ms) == value

    @given(st.integers(0, 359_999_996_400_000))
    def test_a_formatted_timeout_is_never_longer_and_loses_less_than_a_unit(self, timeout_ms: int) -> None:
        value = format_timeout(timeout_ms)
        assert len(value) <= 9
        parsed = parse_timeout_ms(value)
        assert parsed is not None
        unit = {b"m": 1, b"S": 1_000, b"M": 60_000, b"H": 3_600_000}[value[-1:]]
        assert parsed <= timeout_ms < parsed + 2 * unit
