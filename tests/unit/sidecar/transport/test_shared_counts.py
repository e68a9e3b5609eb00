"""Numbers of several processes, here with several views of the same memory."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from sidecar.transport.shared_counts import SharedCount, SharedCounts, new_memory

COUNT, PARTS = 3, 2


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = new_memory(COUNT, PARTS)
    yield descriptor
    os.close(descriptor)


def numbers(memory: int, part: int | None) -> tuple[SharedCounts, list[SharedCount]]:
    counts = SharedCounts(memory, COUNT, PARTS, part)
    return counts, [counts.take() for _ in range(COUNT)]


def test_the_sum_is_of_all_and_each_number_is_its_own(memory: int) -> None:
    main, seen = numbers(memory, None)
    _, first = numbers(memory, 0)
    _, second = numbers(memory, 1)
    first[0].add(2)
    second[0].add(3)
    second[2].add(1)
    first[0].add(-1)
    for view in (seen, first, second):
        assert [each.total for each in view] == [4, 0, 1]
    main.clear(1)
    assert [each.total for each in seen] == [1, 0, 0]
    second[2].add(1)  # as the one that takes its place
    assert [each.total for each in first] == [1, 0, 1]


def test_there_are_as_many_as_were_said(memory: int) -> None:
    counts, _ = numbers(memory, 0)
    with pytest.raises(AssertionError):
        counts.take()


def test_no_numbers_at_all() -> None:
    descriptor = new_memory(0, 2)
    SharedCounts(descriptor, 0, 2, 1).clear(1)
    os.close(descriptor)
