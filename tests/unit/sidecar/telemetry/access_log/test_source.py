"""Operators as source: alone and as columns of a line they give the same."""

from __future__ import annotations

from sidecar.stream_info import StreamInfo
from sidecar.telemetry.access_log.source import columns_of, operator_of
from tests.unit.sidecar.expressions.streams import bare_stream, http_stream


def test_an_operator_is_its_expression() -> None:
    operator = operator_of("b'%d' % (info.response_code + {more})", more=1)
    assert operator(http_stream()) == b"201"


def test_columns_keep_their_constants_apart() -> None:
    one = operator_of("{value}", value=b"one")
    other = operator_of("{value}", value=b"other")
    assert columns_of([one, other, one])(http_stream()) == (b"one", b"other", b"one")


def test_what_is_no_source_is_called() -> None:
    def read(info: StreamInfo) -> bytes:
        return info.protocol.encode()

    assert columns_of([read, operator_of("b'x'")])(http_stream()) == (b"HTTP/1.1", b"x")


def test_a_single_column_is_a_tuple_too() -> None:
    assert columns_of([operator_of("b'x'")])(http_stream()) == (b"x",)


def test_shared_facts_are_not_confused_with_longer_names() -> None:
    operator = operator_of("b'%d' % (info.upstream is None and info.upstream_exchange is None)")
    assert columns_of([operator])(bare_stream()) == (operator(bare_stream()),)


def test_constants_are_no_source() -> None:
    """What a configuration brings stays a value, whatever it looks like."""
    text = b"{info.__class__}'); raise SystemExit #"
    assert columns_of([operator_of("{value}", value=text)])(http_stream()) == (text,)
