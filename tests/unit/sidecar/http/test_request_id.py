from __future__ import annotations

import uuid

import pytest

from sidecar.http.request_id import RequestIds, TraceReason, random_number_of, reason_of, with_reason


def test_ids_are_random_uuids_and_do_not_repeat() -> None:
    ids = RequestIds()
    made = [ids.next() for _ in range(1000)]  # more than one batch of random bytes
    assert len(set(made)) == 1000
    for text in made:
        parsed = uuid.UUID(text.decode())
        assert str(parsed).encode() == text
        assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)


def test_two_sources_differ() -> None:
    assert RequestIds().next() != RequestIds().next()


ID = b"b735dae1-93e0-%b054-ad3b-98dd912fe9bb"


@pytest.mark.parametrize(
    ("digit", "reason"),
    [
        (b"4", TraceReason.NOT_TRACEABLE),
        (b"9", TraceReason.SAMPLING),
        (b"a", TraceReason.SERVICE_FORCED),
        (b"b", TraceReason.CLIENT_FORCED),
        (b"c", TraceReason.NOT_TRACEABLE),
    ],
)
def test_a_digit_says_why_it_is_traced(digit: bytes, reason: TraceReason) -> None:
    assert reason_of(ID % digit) is reason
    assert with_reason(ID % digit, TraceReason.SAMPLING) == ID % b"9"


def test_what_is_not_as_long_as_a_uuid_says_nothing_and_stays() -> None:
    assert reason_of(b"b735dae1-93e0-9") is TraceReason.NOT_TRACEABLE
    assert with_reason(b"b735dae1-93e0-9", TraceReason.NOT_TRACEABLE) == b"b735dae1-93e0-9"


@pytest.mark.parametrize(
    ("request_id", "number"),
    [
        (ID % b"4", 0xB735DAE1),
        (b"0000000f", 15),
        (b"ABCDEF01", 0xABCDEF01),
        (b"0x12abcd-", 0x12ABCD),  # as strtoull reads it
        (b"0X12ABCD", 0x12ABCD),
        (b"0x0x0x0x", -1),
        (b"x012abcd", -1),
        (b"0000_00f", -1),
        (b"short", -1),
        (b"b735dae-93e0", -1),
        (b"notahexa", -1),
    ],
)
def test_the_number_in_it(request_id: bytes, number: int) -> None:
    assert random_number_of(request_id) == number
