"""Stats as lines of the StatsD protocol and its relatives, as Envoy 1.40 sends them.

Counters that were ever used are sent at each flush as what came since the last one, 0 as well; gauges that were used as
they are; each value of a histogram when it is recorded, as a timer (`|ms`), whatever its unit.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

from stats.metrics import Counter, Gauge, Histogram, StatKey, Tags, TextReadout
from stats.render import in_batches
from stats.snapshot import StatsSource


class TagStyle(enum.Enum):
    """How tags are told."""

    IN_NAME = enum.auto()  # the full name, which has their values in it
    DOGSTATSD = enum.auto()  # name:1|c|#tag:value,tag:value
    GRAPHITE = enum.auto()  # name;tag=value;tag=value:1|c


#: What would end a name, a tag or a line.
_RESERVED: Final = str.maketrans(":|\n\r", "____")
_RESERVED_IN_TAGS: Final = str.maketrans(",|;#\n\r", "______")


class StatsdLines:
    """Makes lines without an end."""

    __slots__ = ("_prefix", "_style")

    def __init__(self, prefix: str, style: TagStyle) -> None:
        self._prefix = prefix
        self._style = style

    def counter(self, counter: Counter, delta: int) -> bytes:
        return self._line(counter, f"{delta}|c")

    def gauge(self, gauge: Gauge) -> bytes:
        return self._line(gauge, f"{gauge.value}|g")

    def histogram(self, histogram: Histogram, value: float) -> bytes:
        return self._line(histogram, f"{value:.0f}|ms")

    def _line(self, stat: Counter | Gauge | Histogram | TextReadout, value: str) -> bytes:
        if self._style is TagStyle.IN_NAME:
            text = f"{self._prefix}.{stat.name.translate(_RESERVED)}:{value}"
        else:
            name = stat.tag_extracted_name.translate(_RESERVED)
            if self._style is TagStyle.DOGSTATSD:
                tags = _tags(stat.tags, ":", ",")
                text = f"{self._prefix}.{name}:{value}{'|#' if tags else ''}{tags}"
            else:
                tags = _tags(stat.tags, "=", ";")
                text = f"{self._prefix}.{name}{';' if tags else ''}{tags}:{value}"
        return text.encode("utf-8", "replace")


def _tags(tags: Tags, between: str, after: str) -> str:
    return after.join([f"{name}{between}{value.translate(_RESERVED_IN_TAGS)}" for name, value in tags])


class StatsdSink(Protocol):
    """Something that lines go to."""

    lines: StatsdLines

    def send(self, lines: Iterable[bytes]) -> None:
        """Never waits: what cannot be sent is dropped."""


class Deltas:
    """What counters have counted since the last flush."""

    __slots__ = ("_copies", "_last")

    def __init__(self, *, copies: bool = False) -> None:
        """`copies`: each flush sees other objects for the same counters, as of several processes."""
        self._copies = copies
        self._last: dict[StatKey, tuple[Counter, int]] = {}

    def flush(self, source: StatsSource, sinks: Iterable[StatsdSink]) -> Iterator[None]:
        """Send counters and gauges to `sinks`, some of them at each step. Two flushes may overlap."""
        for keys in in_batches(list(source.counters)):
            found = [(key, source.counters.get(key)) for key in keys]
            deltas = [
                (counter, self._delta(key, counter))
                for key, counter in found
                if counter is not None and counter.used
            ]
            for sink in sinks if deltas else ():
                sink.send([sink.lines.counter(counter, delta) for counter, delta in deltas])
            yield
        for gauges in in_batches(list(source.gauges.values())):
            used = [gauge for gauge in gauges if gauge.used]
            for sink in sinks if used else ():
                sink.send([sink.lines.gauge(gauge) for gauge in used])
            yield
        if len(self._last) > len(source.counters):
            for keys in in_batches(list(self._last)):
                for key in keys:
                    if key not in source.counters:
                        self._last.pop(key, None)
                yield

    def _delta(self, key: StatKey, counter: Counter) -> int:
        """A counter that is new under its key, or was reset, has counted all it shows."""
        value = counter.value
        known, before = self._last.get(key, (counter, 0))
        self._last[key] = counter, value
        same = known is counter or self._copies
        return value - before if same and value >= before else value


class Datagrams:
    """Packs lines into datagrams of at most `max_bytes` (0: one line in each). A longer line goes alone."""

    __slots__ = ("_max_bytes", "_send")

    def __init__(self, max_bytes: int, send: Callable[[bytes], None]) -> None:
        self._max_bytes = max_bytes
        self._send = send

    def pack(self, lines: Iterable[bytes]) -> None:
        held: list[bytes] = []
        size = 0
        for line in lines:
            if held and size + len(line) + 1 > self._max_bytes:
                self._send(b"\n".join(held))
                held.clear()
                size = 0
            held.append(line)
            size += len(line) + (1 if size else 0)
        if held:
            self._send(b"\n".join(held))
