from __future__ import annotations

from stats.ceiling import SeriesCeiling, distinct_values, most_varied_label
from stats.metrics import Tags


def tags(value: int) -> Tags:
    return (("a", "same"), ("b", str(value)))


def test_ceiling() -> None:
    ceiling = SeriesCeiling(2)
    told: list[tuple[str, str, int]] = []
    ceiling.tell = lambda *what: told.append(what)
    in_use = {tags(1), tags(2)}
    assert ceiling.admits("m", in_use, tags(1))
    assert ceiling.admits("m", {tags(1)}, tags(3))
    assert not ceiling.admits("m", in_use, tags(3))
    assert not ceiling.admits("m", in_use, tags(4))
    assert told == [("m", "b", 2)]
    assert not ceiling.admits("n", in_use, tags(3))
    assert ceiling.overflows.value == 3
    assert ceiling.admits("m", {tags(1)}, tags(3))  # there was room in between
    assert not ceiling.admits("m", in_use, tags(3))
    assert told == [("m", "b", 2), ("n", "b", 2), ("m", "b", 2)]


def test_without_anybody_to_tell() -> None:
    assert not SeriesCeiling(0).admits("m", set(), tags(1))


def test_most_varied_label() -> None:
    assert distinct_values([tags(1), tags(2)]) == {"a": 1, "b": 2}
    assert most_varied_label([tags(1), tags(2)]) == ("b", 2)
    assert most_varied_label([]) == ("", 0)
