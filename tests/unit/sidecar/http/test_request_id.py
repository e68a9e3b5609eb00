from __future__ import annotations

import uuid

from sidecar.http.request_id import RequestIds


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
