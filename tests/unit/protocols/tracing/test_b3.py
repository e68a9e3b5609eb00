"""The `x-b3-*` headers and the one header `b3`."""

from __future__ import annotations

import pytest

from protocols.http.headers import Headers
from protocols.tracing import b3
from protocols.tracing.span import SpanContext
from tests.support.spans import place

TRACE = "463ac35c9f6413ad48485a3953bb6124"
SPAN = "a2fb4a1d1a96d312"
PARENT = "0020000000000001"


def many(**fields: str) -> b3.Extracted:
    """`x-b3-NAME`."""
    return b3.extract(Headers([(f"x-b3-{name}".encode(), value.encode()) for name, value in fields.items()]))


def single(value: str) -> b3.Extracted:
    return b3.extract(Headers([(b"b3", value.encode())]))


class TestMany:
    def test_all(self) -> None:
        found = many(traceid=TRACE, spanid=SPAN, parentspanid=PARENT, sampled="1")
        assert found == (place(TRACE, SPAN, PARENT, True), True, False)

    @pytest.mark.parametrize(
        ("fields", "sampled"),
        [
            ({}, None),
            ({"sampled": "0"}, False),
            ({"sampled": "true"}, True),
            ({"sampled": "what"}, False),
            ({"flags": "1"}, True),
            ({"flags": "1", "sampled": "0"}, True),
            ({"flags": "0"}, None),
        ],
    )
    def test_decisions(self, fields: dict[str, str], sampled: bool | None) -> None:
        assert many(**fields) == (None, sampled, False)
        found = many(traceid=TRACE, spanid=SPAN, **fields)
        assert found == (place(TRACE, SPAN, "", bool(sampled)), sampled, False)

    @pytest.mark.parametrize("fields", [{"traceid": TRACE}, {"spanid": SPAN}])
    def test_half_a_place_is_none(self, fields: dict[str, str]) -> None:
        assert many(**fields, sampled="1") == (None, True, False)

    @pytest.mark.parametrize(
        ("given", "trace_id"),
        [
            (TRACE.upper(), TRACE),
            (TRACE[:16], TRACE[:16]),
            ("0" * 16 + SPAN, SPAN),
            ("0" + SPAN, SPAN),
            ("12" + SPAN, ("12" + SPAN).zfill(32)),
            ("abc", "abc".zfill(16)),
        ],
    )
    def test_ids_as_they_are_handed_on(self, given: str, trace_id: str) -> None:
        found = many(traceid=given, spanid="7")
        assert found[0] == place(trace_id, "7".zfill(16))

    @pytest.mark.parametrize(
        "fields",
        [
            {"traceid": "zz", "spanid": SPAN},
            {"traceid": "", "spanid": SPAN},
            {"traceid": "0" * 32, "spanid": SPAN},
            {"traceid": TRACE + "0", "spanid": SPAN},
            {"traceid": TRACE, "spanid": SPAN + "0"},
            {"traceid": TRACE, "spanid": "-1"},
            {"traceid": TRACE, "spanid": SPAN, "parentspanid": "zz"},
        ],
    )
    def test_what_is_no_place(self, fields: dict[str, str]) -> None:
        assert many(**fields)[0] is None


class TestSingle:
    @pytest.mark.parametrize(
        ("value", "context", "sampled"),
        [
            ("0", None, False),
            ("1", None, True),
            ("d", None, True),
            (f"{TRACE}-{SPAN}", place(TRACE, SPAN), None),
            (f"{TRACE}-{SPAN}-0", place(TRACE, SPAN, "", False), False),
            (f"{TRACE}-{SPAN}-d", place(TRACE, SPAN, "", True), True),
            (f"{TRACE}-{SPAN}-1-{PARENT}", place(TRACE, SPAN, PARENT, True), True),
        ],
    )
    def test_understood(self, value: str, context: SpanContext | None, sampled: bool | None) -> None:
        assert single(value) == (context, sampled, True)

    @pytest.mark.parametrize(
        "value",
        [
            "",
            "junk",
            f"{TRACE}",
            f"{TRACE}-",
            f"{TRACE}-{SPAN}-x",
            f"{TRACE}-{SPAN}-1-",
            f"{TRACE}-{SPAN}-1-zz",
        ],
    )
    def test_not_understood(self, value: str) -> None:
        assert single(value)[0] is None

    def test_comes_before_the_many(self) -> None:
        headers = Headers([(b"b3", b"0"), (b"x-b3-traceid", TRACE.encode()), (b"x-b3-spanid", SPAN.encode())])
        assert b3.extract(headers) == (None, False, True)


class TestInject:
    def test_many(self) -> None:
        headers = Headers([(b"x-b3-parentspanid", b"old"), (b"x-b3-sampled", b"old")])
        b3.inject(headers, place(TRACE, SPAN, "", False), single=False)
        assert dict(headers.items()) == {
            b"x-b3-traceid": TRACE.encode(),
            b"x-b3-spanid": SPAN.encode(),
            b"x-b3-sampled": b"0",
        }
        b3.inject(headers, place(TRACE, SPAN, PARENT, True), single=False)
        assert headers.get(b"x-b3-parentspanid") == PARENT.encode()
        assert headers.get(b"x-b3-sampled") == b"1"

    def test_single(self) -> None:
        headers = Headers([(b"b3", b"old")])
        b3.inject(headers, place(TRACE, SPAN, "", True), single=True)
        assert headers.get(b"b3") == f"{TRACE}-{SPAN}-1".encode()
        b3.inject(headers, place(TRACE, SPAN, PARENT, False), single=True)
        assert headers.get(b"b3") == f"{TRACE}-{SPAN}-0-{PARENT}".encode()
        assert list(headers.names()) == [b"b3"]
