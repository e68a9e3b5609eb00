"""`io.prometheus.client.MetricFamily` for tests, made from field numbers: a judge of pages in Prometheus' protobuf format."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

_FIELD = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "string": _FIELD.TYPE_STRING,
    "double": _FIELD.TYPE_DOUBLE,
    "uint64": _FIELD.TYPE_UINT64,
    "uint32": _FIELD.TYPE_UINT32,
    "sint32": _FIELD.TYPE_SINT32,
    "sint64": _FIELD.TYPE_SINT64,
    "int64": _FIELD.TYPE_INT64,
    "int32": _FIELD.TYPE_INT32,
}
#: prometheus/client_model, metrics.proto (proto2); `*` is repeated. The type of a family is an int32 here, not an enum.
_MESSAGES = {
    "LabelPair": "1 string name, 2 string value",
    "Gauge": "1 double value",
    "Counter": "1 double value, 2 Exemplar exemplar",
    "Quantile": "1 double quantile, 2 double value",
    "Summary": "1 uint64 sample_count, 2 double sample_sum, 3 Quantile* quantile",
    "Untyped": "1 double value",
    "Bucket": "1 uint64 cumulative_count, 2 double upper_bound, 3 Exemplar exemplar",
    "BucketSpan": "1 sint32 offset, 2 uint32 length",
    "Histogram": "1 uint64 sample_count, 2 double sample_sum, 3 Bucket* bucket, 5 sint32 schema, 6 double zero_threshold, "
    "7 uint64 zero_count, 9 BucketSpan* negative_span, 10 sint64* negative_delta, 12 BucketSpan* positive_span, "
    "13 sint64* positive_delta",
    "Exemplar": "1 LabelPair* label, 2 double value, 3 Timestamp timestamp",
    "Metric": "1 LabelPair* label, 2 Gauge gauge, 3 Counter counter, 4 Summary summary, 5 Untyped untyped, "
    "6 int64 timestamp_ms, 7 Histogram histogram",
    "MetricFamily": "1 string name, 2 string help, 3 int32 type, 4 Metric* metric, 5 string unit",
}


def _message_class() -> Any:
    package = "tests.prometheus"
    file = descriptor_pb2.FileDescriptorProto(
        name="tests/metrics.proto",
        package=package,
        syntax="proto2",
        dependency=["google/protobuf/timestamp.proto"],
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for text in fields.split(", "):
            number, kind, field_name = text.split(" ")
            label = _FIELD.LABEL_REPEATED if kind.endswith("*") else _FIELD.LABEL_OPTIONAL
            kind = kind.removesuffix("*")
            field = message.field.add(name=field_name, number=int(number), label=label)
            if kind in _TYPES:
                field.type = _TYPES[kind]
            else:
                field.type = _FIELD.TYPE_MESSAGE
                field.type_name = (
                    ".google.protobuf.Timestamp" if kind == "Timestamp" else f".{package}.{kind}"
                )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.MetricFamily"))


MetricFamily = _message_class()


def read_delimited(page: bytes) -> list[Any]:
    """The families of a page. Raises ValueError if it is cut off or holds a field that is not known."""
    families = []
    at = 0
    while at < len(page):
        length = shift = 0
        while True:
            byte = page[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if at + length > len(page):
            raise ValueError(f"cut off: {length} bytes at {at} of {len(page)}")
        family = MetricFamily.FromString(page[at : at + length])
        again = family.SerializeToString()
        family.DiscardUnknownFields()
        if family.SerializeToString() != again:
            raise ValueError(f"unknown fields in {family.name}")
        families.append(family)
        at += length
    return families


def native_counts(histogram: Any) -> dict[int, int]:
    """Number of the bucket -> count, of a native histogram."""
    counts: dict[int, int] = {}
    at = count = 0
    deltas = iter(histogram.positive_delta)
    for span in histogram.positive_span:
        at += span.offset
        for _ in range(span.length):
            count += next(deltas)
            counts[at] = count
            at += 1
    assert next(deltas, None) is None
    return counts
