"""The Prometheus page as delimited `io.prometheus.client.MetricFamily` messages, as Envoy 1.40 offers it.

The only format with native histograms: sparse buckets that grow exponentially, here counted from the first page on that shows
them. The writer is our own because a family has to come in slices: the messages of its series are made one by one, and
joined when the length of all is known. Field numbers are those of prometheus/client_model, metrics.proto.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from stats.metrics import FINE_SCHEMA, ZERO_THRESHOLD, Counter, Exemplar, Gauge, Histogram, Tags, TextReadout
from stats.prometheus_families import DEFAULT_PAGE, Families, HistogramMode, Page, PageOptions, labels_of
from stats.render import CHUNK_SIZE, QUANTILES, SLICE_ROWS, quantiles
from stats.snapshot import StatsSource

CONTENT_TYPE: Final = (
    b"application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)

_COUNTER, _GAUGE, _SUMMARY, _HISTOGRAM = 0, 1, 2, 4
#: Histograms that are written at once; each is some thirty times the work of a number.
_SLICE_HISTOGRAMS: Final = 20
#: Native histograms cannot be coarser than this.
_COARSEST_SCHEMA: Final = -4

_S = TypeVar("_S", Counter, Gauge, Histogram, TextReadout)


def render(source: StatsSource, options: PageOptions = DEFAULT_PAGE) -> Iterator[bytes]:
    """The page in slices; nothing at all when there is nothing to show. b"" is a pause."""
    page = Page(source, options)
    for _ in page.group():
        yield b""
    yield from _families(page.counters, _COUNTER, lambda counter: _value(3, counter.value))
    yield from _families(page.gauges, _GAUGE, lambda gauge: _value(2, gauge.value))
    yield from _families(page.text_readouts, _GAUGE, lambda _: _value(2, 0), _text_tags)
    if options.histogram_mode is HistogramMode.SUMMARY:
        yield from _families(page.histograms, _SUMMARY, _summary)
    elif options.histogram_mode is HistogramMode.NATIVE:
        most = options.native_max_buckets
        yield from _families(page.histograms, _HISTOGRAM, lambda histogram: _native(histogram, most))
    else:
        yield from _families(page.histograms, _HISTOGRAM, _classic)


def _own_tags(stat: Counter | Gauge | Histogram | TextReadout) -> Tags:
    return stat.tags


def _text_tags(text: TextReadout) -> Tags:
    return (*text.tags, ("text_value", text.value))


def _families(
    families: Families[_S], kind: int, value: Callable[[_S], bytes], tags: Callable[[_S], Tags] = _own_tags
) -> Iterator[bytes]:
    """The messages of a kind; `value` is what a series has besides its labels."""
    for name in families.names():
        parts = [_text(1, name) + _varint_field(3, kind)]
        most = _SLICE_HISTOGRAMS if kind in (_SUMMARY, _HISTOGRAM) else SLICE_ROWS
        size = count = 0
        for stat in families.series(name):
            if stat is not None:
                part = _bytes(4, b"".join(map(_label, labels_of(tags(stat)))) + value(stat))
                parts.append(part)
                size += len(part)
                count += 1
                if count < most and size < CHUNK_SIZE:
                    continue
            yield b""
            size = count = 0
        yield from _delimited(parts)


def _delimited(parts: list[bytes]) -> Iterator[bytes]:
    """One message, its length first, in slices."""
    held = [_varint(sum(map(len, parts)))]
    size = 0
    parts.reverse()
    while parts:
        part = parts.pop()
        held.append(part)
        size += len(part)
        if size >= CHUNK_SIZE:
            yield b"".join(held)
            held.clear()
            size = 0
    if held:
        yield b"".join(held)


# values


def _value(field: int, value: float) -> bytes:
    """A Counter, or a Gauge."""
    return _bytes(field, _double(1, value))


def _summary(histogram: Histogram) -> bytes:
    pairs = zip(QUANTILES, quantiles(histogram), strict=True)
    shown = b"".join(_bytes(3, _double(1, quantile) + _double(2, value)) for quantile, value in pairs)
    return _bytes(4, _totals(histogram) + shown)


def _totals(histogram: Histogram) -> bytes:
    return _varint_field(1, histogram.count) + _double(2, histogram.sum)


def _classic(histogram: Histogram) -> bytes:
    """What is above the last bound is in no bucket, as in Envoy: it is in the count."""
    exemplars = histogram.exemplars
    parts = [_totals(histogram)]
    counts = itertools.accumulate(histogram.buckets)
    for at, (bound, count) in enumerate(zip(histogram.bounds, counts, strict=False)):
        bucket = _varint_field(1, count) + _double(2, bound)
        exemplar = exemplars[at] if exemplars is not None else None
        parts.append(_bytes(3, bucket if exemplar is None else bucket + _exemplar(exemplar)))
    return _bytes(7, b"".join(parts))


def _exemplar(exemplar: Exemplar) -> bytes:
    seconds, rest = divmod(exemplar.time_s, 1)
    time = _varint_field(1, int(seconds)) + _varint_field(2, int(rest * 1e9))
    labels = _label(("trace_id", exemplar.trace_id)) + _label(("span_id", exemplar.span_id))
    return _bytes(3, labels + _double(2, exemplar.value) + _bytes(3, time))


def native_buckets(histogram: Histogram, max_buckets: int) -> tuple[int, dict[int, int]]:
    """(schema, number of the bucket -> count): the finest with no more than `max_buckets` buckets. Starts to count finely."""
    histogram.keep_fine()
    buckets = histogram.fine or {}
    schema = FINE_SCHEMA
    while len(buckets) > max_buckets and schema > _COARSEST_SCHEMA:
        coarser: dict[int, int] = {}
        for at, count in buckets.items():
            half = (at + 1) >> 1  # the upper bound of a coarser bucket is that of every second one
            coarser[half] = coarser.get(half, 0) + count
        buckets = coarser
        schema -= 1
    return schema, buckets


def _native(histogram: Histogram, max_buckets: int) -> bytes:
    schema, buckets = native_buckets(histogram, max_buckets)
    parts = [
        _totals(histogram),
        _varint_field(5, _zigzag(schema)),
        _double(6, ZERO_THRESHOLD),
        _varint_field(7, histogram.count - sum(buckets.values())),
    ]
    spans: list[list[int]] = []
    end = 0
    for at in sorted(buckets):
        if spans and at == end:
            spans[-1][1] += 1
        else:
            spans.append([at - end, 1])
        end = at + 1
    parts += [
        _bytes(12, _varint_field(1, _zigzag(offset)) + _varint_field(2, length)) for offset, length in spans
    ]
    before = 0
    for at in sorted(buckets):
        parts.append(_varint_field(13, _zigzag(buckets[at] - before)))
        before = buckets[at]
    return _bytes(7, b"".join(parts))


# the wire


def _label(label: tuple[str, str]) -> bytes:
    return _bytes(1, _text(1, label[0]) + _text(2, label[1]))


_SHORT: Final = [bytes((value,)) for value in range(0x80)]


def _varint(value: int) -> bytes:
    if value < 0x80:
        return _SHORT[value]
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else (-value << 1) - 1


def _varint_field(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return struct.pack("<Bd", field << 3 | 1, value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode("utf-8", "replace"))
