from __future__ import annotations

from collections.abc import Iterator

from stats.ceiling import _TOLD_SERIES, SeriesCeiling, gather_values, most_varied_label
from stats.metrics import Tags


def tags(value: int) -> Tags:
    return (("a", "same"), ("b", str(value)))


def tell(ceiling: SeriesCeiling) -> int:
    """How many steps it took."""
    return sum(1 for _ in ceiling.tell_of_full())


def test_ceiling() -> None:
    ceiling = SeriesCeiling(2)
    told: list[tuple[str, str, int]] = []
    ceiling.tell = lambda *what: told.append(what)
    in_use = {tags(1), tags(2)}
    assert ceiling.admits("m", in_use, tags(1))
    assert ceiling.admits("m", {tags(1)}, tags(3))
    assert not ceiling.admits("m", in_use, tags(3))
    assert not ceiling.admits("m", in_use, tags(4))
    tell(ceiling)
    assert told == [("m", "b", 2)]
    assert not ceiling.admits("n", in_use, tags(3))
    assert ceiling.overflows.value == 3
    assert ceiling.admits("m", {tags(1)}, tags(3))  # there was room in between
    assert not ceiling.admits("m", in_use, tags(3))
    tell(ceiling)
    assert sorted(told) == [("m", "b", 2), ("m", "b", 2), ("n", "b", 2)]
    assert tell(ceiling) == 0


def test_the_values_are_counted_in_steps_and_not_by_who_finds_the_metric_full() -> None:
    ceiling = SeriesCeiling(3 * _TOLD_SERIES)
    told: list[tuple[str, str, int]] = []
    ceiling.tell = lambda *what: told.append(what)
    in_use = Looked(tags(number) for number in range(3 * _TOLD_SERIES))
    assert not ceiling.admits("m", in_use, tags(-1))
    assert (in_use.walks, told) == (0, [])
    assert tell(ceiling) == 3
    assert told == [("m", "b", 3 * _TOLD_SERIES)]


class Looked(set[Tags]):
    """Knows how often somebody went through all of it."""

    walks = 0

    def __iter__(self) -> Iterator[Tags]:
        self.walks += 1
        return super().__iter__()


def test_without_anybody_to_tell() -> None:
    ceiling = SeriesCeiling(0)
    assert not ceiling.admits("m", set(), tags(1))
    assert tell(ceiling) == 0
    assert ceiling._untold == {}


def test_most_varied_label() -> None:
    values: dict[str, set[str]] = {}
    gather_values([tags(1), tags(2), (("b", "overflow"),)], values)
    assert values == {"a": {"same"}, "b": {"1", "2"}}
    assert most_varied_label(values) == ("b", 2)
    assert most_varied_label({}) == ("", 0)
