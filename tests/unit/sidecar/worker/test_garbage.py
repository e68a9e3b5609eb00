"""The cyclic garbage collector looks at little at once, and at everything when there is time."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from sidecar.worker.garbage import _GROWTH_BYTES, _IDLE_INTERVAL_S, GarbageCollector
from stats import admin_text, cardinality, openmetrics, prometheus, prometheus_protobuf
from stats.store import Store

MEMORY = 4 * _GROWTH_BYTES
SERIES = 100_000


@pytest.fixture
def garbage() -> Iterator[GarbageCollector]:
    """What the tests themselves have is not looked at."""
    threshold = gc.get_threshold()
    collector = GarbageCollector()
    gc.collect()
    gc.disable()  # as a start does
    collector.settle()
    yield collector
    gc.set_threshold(*threshold)
    gc.unfreeze()


class Node:
    """Garbage that only the collector finds."""

    def __init__(self) -> None:
        self.me = self


def old_garbage() -> weakref.ref[Node]:
    node = Node()
    gc.collect(1)
    return weakref.ref(node)


class Clock:
    """Housekeeping of a process that is busy, or not."""

    def __init__(self, garbage: GarbageCollector) -> None:
        self.garbage = garbage
        self.now_s = self.cpu_s = 0.0
        self.look(busy=False)

    def look(self, *, busy: bool, after_s: float = 1, memory: int = MEMORY) -> bool:
        self.now_s += after_s
        self.cpu_s += after_s * (0.5 if busy else 0.001)
        return self.garbage.look(self.now_s, self.cpu_s, memory)


def test_the_configuration_is_never_looked_at(garbage: GarbageCollector) -> None:
    assert gc.get_freeze_count() > 1000
    assert gc.isenabled()
    assert gc.get_threshold()[2] > 1_000_000


def test_old_garbage_is_found_when_the_process_is_idle(garbage: GarbageCollector) -> None:
    clock = Clock(garbage)
    ref = old_garbage()
    assert not clock.look(busy=False)  # it was settled just now
    assert not clock.look(busy=True, after_s=_IDLE_INTERVAL_S)
    assert ref() is not None
    assert clock.look(busy=False)
    assert ref() is None
    assert not clock.look(busy=False, after_s=2 * _IDLE_INTERVAL_S)  # nothing has grown old since


def test_old_garbage_of_a_busy_process_is_found_when_memory_has_grown(garbage: GarbageCollector) -> None:
    clock = Clock(garbage)
    ref = old_garbage()
    assert not clock.look(busy=True, memory=MEMORY + _GROWTH_BYTES)
    assert clock.look(busy=True, memory=MEMORY * 3 // 2)
    assert ref() is None
    old_garbage()
    assert not clock.look(
        busy=True, memory=MEMORY * 2
    )  # it is half as much again as the last time that counts
    assert clock.look(busy=True, memory=MEMORY * 9 // 4)


def test_a_page_in_the_making_comes_first(garbage: GarbageCollector) -> None:
    clock = Clock(garbage)
    pieces = garbage.in_pieces(iter([b"a", b"b"]))
    old_garbage()
    assert next(pieces) == b"a"
    assert not clock.look(busy=False, after_s=_IDLE_INTERVAL_S, memory=MEMORY * 3)
    pieces = iter(())  # its client has gone
    assert clock.look(busy=True, memory=MEMORY * 3)


def test_memory_is_bounded_while_a_page_waits_for_its_client(garbage: GarbageCollector) -> None:
    clock = Clock(garbage)
    pieces = garbage.in_pieces(iter([b"a", b"b"]))
    assert next(pieces) == b"a"
    ref = old_garbage()
    assert clock.look(busy=True, memory=MEMORY * 4)
    assert ref() is None
    assert list(pieces) == [b"b"]


class Looks:
    """What the collector looks at: how often at everything, and how many references at most otherwise."""

    def __init__(self) -> None:
        self.full = self.most = self.count = 0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if phase != "start":
            return
        self.count += 1
        if info["generation"] == 2:
            self.full += 1
            return
        young: list[Any] = [each for at in range(info["generation"] + 1) for each in gc.get_objects(at)]
        references = sum(len(each) for each in young if isinstance(each, list | dict | set | tuple))
        self.most = max(self.most, references)


@pytest.fixture(scope="module")
def store() -> Store:
    store = Store()
    scope = store.scope("istiocustom")
    for number in range(SERIES):
        scope.tagged_counter("istio_requests_total", (("a", f"w{number}"),)).inc()
    return store


@pytest.mark.parametrize("module", [prometheus, openmetrics, prometheus_protobuf, admin_text, cardinality])
def test_few_references_are_looked_at_while_a_page_is_made(
    garbage: GarbageCollector, store: Store, module: Any
) -> None:
    """A page of 100,000 series has several lists of all of them; not more than one is young at once, and a part of the next."""
    render = module.render_text if module in (admin_text, cardinality) else module.render
    looks = Looks()
    gc.callbacks.append(looks)
    try:
        for piece in garbage.in_pieces(render(store)):
            assert len(piece) < 100_000
    finally:
        gc.callbacks.remove(looks)
    assert looks.full == 0
    assert looks.count >= 20
    assert looks.most < SERIES * 3 // 2
    assert garbage._pages == 0


def test_pieces_stay_what_they_are(garbage: GarbageCollector) -> None:
    pieces = [bytes([number]) for number in range(250)]
    found = list(garbage.in_pieces(iter(pieces)))
    assert b"".join(found) == b"".join(pieces)
    assert found.count(b"") == 12
