"""Plain values -> a protobuf message, by the message's descriptor, reporting everything that does not fit.

The rules are those of Envoy's proto-JSON reading: both spellings of a field name, numbers as text, enum values by
name in any case or by number, `null` for "not set", one value where a list is expected, durations as `1.5s` or as an
object. A field given twice (in both spellings) is an error here, because one of the two would be lost silently.
"""

from __future__ import annotations

import base64
import binascii
import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor as Kind
from google.protobuf.message import Message

from config.proto import types
from config.proto.document import Plain, parse_integer
from config.proto.path import Path
from config.proto.types import Descriptor, EnumDescriptor, FieldDescriptor
from config.spelling import did_you_mean

_DURATION: Final = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,9}))?s\Z", re.ASCII)
_MAX_DURATION_S: Final = 315_576_000_000
#: Of the unknown fields of one message so many are named.
MAX_UNKNOWN: Final = 10
_INTEGRAL: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?\Z", re.ASCII)
_RANGES: Final = {
    Kind.CPPTYPE_INT32: (-(2**31), 2**31 - 1, "int32"),
    Kind.CPPTYPE_INT64: (-(2**63), 2**63 - 1, "int64"),
    Kind.CPPTYPE_UINT32: (0, 2**32 - 1, "uint32"),
    Kind.CPPTYPE_UINT64: (0, 2**64 - 1, "uint64"),
}


class Unfit(Exception):
    """A value cannot be what the field wants; the message says what is wanted."""


def describe(value: Plain) -> str:
    """The value in an error message: its kind, and itself when it is short."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return f"'{value}'" if len(value) <= 80 else f"'{value[:77]}...'"
    return f"the number {value}"


@functools.cache
def _field_names(full_name: str) -> dict[str, FieldDescriptor]:
    descriptor = types.message_class(full_name)
    assert descriptor is not None
    names = {}
    for field in descriptor.DESCRIPTOR.fields:
        names[field.name] = names[field.json_name] = field
    return names


@functools.cache
def _enum_names(full_name: str, descriptor: EnumDescriptor) -> dict[str, int]:
    return {value.name.lower(): value.number for value in descriptor.values}


def known_fields(descriptor: Descriptor) -> list[str]:
    return [field.name for field in descriptor.fields]


def fields_of(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    """Every spelling of every field of a message."""
    return _field_names(descriptor.full_name)


def load_message(value: Plain, message: Message, at: Path) -> None:
    """Fill `message` from plain values. Problems are reported under `at`; what fits is set."""
    special = _SPECIAL.get(message.DESCRIPTOR.full_name)
    if special is not None:
        special(value, message, at)
        return
    if not isinstance(value, Mapping):
        at.error(f"expected an object ({_short(message.DESCRIPTOR)}), got {describe(value)}")
        return
    _load_fields(value, message, at)


def _load_fields(value: Mapping[str, Plain], message: Message, at: Path) -> None:
    known = fields_of(message.DESCRIPTOR)
    seen: dict[str, str] = {}
    unknown = [name for name in value if name not in known]
    if unknown:
        _unknown_fields(unknown, message.DESCRIPTOR, value, at)
    for name, item in value.items():
        field = known.get(name)
        if field is None:
            continue
        field_at = at.field(field.name)
        if item is None and not _takes_null(field):
            continue
        oneof = field.containing_oneof
        group = oneof.name if oneof is not None else field.name
        if group in seen:
            _set_twice(field, seen[group], field_at)
            continue
        seen[group] = field.name
        before = len(at.context.problems.errors)
        _load_field(message, field, item, field_at)
        if oneof is not None and len(at.context.problems.errors) > before:
            at.context.problems.taint(at.field(oneof.name))  # something was chosen


def _set_twice(field: FieldDescriptor, earlier: str, at: Path) -> None:
    if earlier == field.name:
        at.error(f"given twice, as {field.name} and as {field.json_name}", of_key=True)
    else:
        at.error(f"cannot be set together with {earlier}: only one of them may be given", of_key=True)


def _unknown_fields(
    names: Sequence[str], descriptor: Descriptor, given: Mapping[str, Plain], at: Path
) -> None:
    """The first ones one by one: a text that is something else altogether is not to be echoed."""
    shown, left = names[:MAX_UNKNOWN], len(names) - MAX_UNKNOWN
    for name in shown:
        more = f" (and {left} more)" if left > 0 and name is shown[-1] else ""
        _unknown_field(name, descriptor, given, at, more)


def _unknown_field(
    name: str, descriptor: Descriptor, given: Mapping[str, Plain], at: Path, more: str
) -> None:
    known = known_fields(descriptor)
    suggestion = did_you_mean(name, known)
    reason = f"unknown field in {_short(descriptor)}{suggestion}{more}"
    if at.context.allow_unknown_fields:
        at.field(name).warning(f"{reason} (ignored)", of_key=True)
        return
    at.field(name).error(reason, of_key=True)
    if suggestion:  # the field that was meant would now be missed
        for candidate in known:
            field = fields_of(descriptor)[candidate]
            if f"'{candidate}'" in suggestion and given.keys().isdisjoint((field.name, field.json_name)):
                at.context.problems.taint(at.field(candidate))
                if field.containing_oneof is not None:
                    at.context.problems.taint(at.field(field.containing_oneof.name))


def _short(descriptor: Descriptor) -> str:
    return str(descriptor.full_name)


def _takes_null(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name == "google.protobuf.Value"


def _load_field(message: Any, field: FieldDescriptor, value: Plain, at: Path) -> None:
    if field.is_repeated:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _load_map(getattr(message, field.name), field, value, at)
            return
        target = getattr(message, field.name)
        for index, item in enumerate(value if isinstance(value, list) else [value]):
            item_at = at.index(index)
            if item is None:
                item_at.error("must not be null")
            elif field.message_type is not None:
                load_message(item, target.add(), item_at)
            else:
                scalar = _scalar_or_report(field, item, item_at)
                if scalar is not None:
                    target.append(scalar)
    elif field.message_type is not None:
        child = getattr(message, field.name)
        child.SetInParent()
        load_message(value, child, at)
    else:
        scalar = _scalar_or_report(field, value, at)
        if scalar is not None:
            setattr(message, field.name, scalar)


def _load_map(target: Any, field: FieldDescriptor, value: Plain, at: Path) -> None:
    if not isinstance(value, Mapping):
        at.error(f"expected an object, got {describe(value)}")
        return
    entry = field.message_type.fields_by_name["value"]
    key_field = field.message_type.fields_by_name["key"]
    for name, item in value.items():
        item_at = at.key(name)
        key = _scalar_or_report(key_field, name, item_at)
        if key is None:
            continue
        if item is None and not _takes_null(entry):
            item_at.error("must not be null")
        elif entry.message_type is not None:
            load_message(item, target[key], item_at)
        else:
            scalar = _scalar_or_report(entry, item, item_at)
            if scalar is not None:
                target[key] = scalar


def _scalar_or_report(field: FieldDescriptor, value: Plain, at: Path) -> Any:
    try:
        return _scalar(field, value)
    except Unfit as problem:
        at.error(str(problem))
        return None


def _scalar(field: FieldDescriptor, value: Plain) -> Any:
    kind = field.cpp_type
    if kind == Kind.CPPTYPE_STRING:
        return _bytes(value) if field.type == Kind.TYPE_BYTES else _text(value)
    if kind == Kind.CPPTYPE_BOOL:
        return _boolean(value)
    if kind == Kind.CPPTYPE_ENUM:
        return _enum(field.enum_type, value)
    if kind in _RANGES:
        return _integer(value, *_RANGES[kind])
    return _number(value)


def _text(value: Plain) -> str:
    if not isinstance(value, str):
        hint = " (write it in quotes)" if isinstance(value, bool | int | float) else ""
        raise Unfit(f"expected a string, got {describe(value)}{hint}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Unfit("not valid Unicode text") from None
    return value


def _bytes(value: Plain) -> bytes:
    text = _text(value).replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Unfit("not valid base64") from None


def _boolean(value: Plain) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise Unfit(f"expected true or false, got {describe(value)}")


def _integer(value: Plain, low: int, high: int, kind: str) -> int:
    number = value
    if isinstance(value, str):
        number = parse_integer(value)
        if number is None and _INTEGRAL.match(value):
            number = float(value)
    if isinstance(number, float) and math.isfinite(number):
        if number != int(number):
            raise Unfit(f"expected an integer, got {describe(value)}")
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int):
        raise Unfit(f"expected an integer, got {describe(value)}")
    if not low <= number <= high:
        raise Unfit(f"{number} is out of range for {kind} ({low} to {high})")
    return number


def _number(value: Plain) -> float:
    if isinstance(value, str):
        if value in ("NaN", "Infinity", "-Infinity"):
            return float(value.lower())
        if re.match(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\Z", value, re.ASCII):
            return float(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise Unfit(f"expected a number, got {describe(value)}")


def _enum(descriptor: EnumDescriptor, value: Plain) -> int:
    names = _enum_names(descriptor.full_name, descriptor)
    if isinstance(value, str):
        number = names.get(value.lower())
        if number is None:
            number = parse_integer(value)
        if number is not None and -(2**31) <= number < 2**31:
            return number
    elif isinstance(value, int) and not isinstance(value, bool) and -(2**31) <= value < 2**31:
        return value
    spelled = [item.name for item in descriptor.values]
    suggestion = did_you_mean(value, spelled) if isinstance(value, str) else ""
    raise Unfit(f"expected one of {', '.join(spelled)}, got {describe(value)}{suggestion}")


def _load_duration(value: Plain, message: Any, at: Path) -> None:
    if isinstance(value, Mapping):
        _load_fields(value, message, at)
        return
    match = _DURATION.match(value) if isinstance(value, str) else None
    if match is None or int(match[2]) > _MAX_DURATION_S:
        suggestion = ""
        number = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if isinstance(number, str) and (simple := re.match(r"\s*([0-9]+)\s*(ms|[a-z]*)\s*\Z", number)):
            scale = {"": 1.0, "s": 1.0, "sec": 1.0, "ms": 0.001, "m": 60.0, "min": 60.0, "h": 3600.0}
            seconds = scale.get(simple[2])
            if seconds is not None and len(simple[1]) < 10:
                suggestion = f"; did you mean '{int(simple[1]) * seconds:g}s'?"
        at.error(f"expected a duration in seconds such as '1.5s', got {describe(value)}{suggestion}")
        return
    sign = -1 if match[1] else 1
    message.seconds = sign * int(match[2])
    message.nanos = sign * int((match[3] or "").ljust(9, "0"))


def _load_timestamp(value: Plain, message: Any, at: Path) -> None:
    try:
        message.FromJsonString(_text(value))
    except (Unfit, ValueError, OverflowError):
        at.error(f"expected a time such as '2024-01-31T12:00:00Z', got {describe(value)}")


def _load_wrapper(value: Plain, message: Any, at: Path) -> None:
    if isinstance(value, Mapping):
        _load_fields(value, message, at)
        return
    scalar = _scalar_or_report(message.DESCRIPTOR.fields_by_name["value"], value, at)
    if scalar is not None:
        message.value = scalar


def _load_struct(value: Plain, message: Any, at: Path) -> None:
    if not isinstance(value, Mapping):
        at.error(f"expected an object, got {describe(value)}")
        return
    for name, item in value.items():
        try:
            key = _text(name)
        except Unfit as problem:
            at.error(str(problem))
            continue
        _load_value(item, message.fields[key], at.field(name))


def _load_value(value: Plain, message: Any, at: Path) -> None:
    if value is None:
        message.null_value = 0
    elif isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, int | float):
        message.number_value = value
    elif isinstance(value, str):
        try:
            message.string_value = _text(value)
        except Unfit as problem:
            at.error(str(problem))
    elif isinstance(value, Mapping):
        message.struct_value.SetInParent()
        _load_struct(value, message.struct_value, at)
    elif isinstance(value, list):
        message.list_value.SetInParent()
        _load_list(value, message.list_value, at)


def _load_list(value: Plain, message: Any, at: Path) -> None:
    if not isinstance(value, list):
        at.error(f"expected a list, got {describe(value)}")
        return
    for index, item in enumerate(value):
        _load_value(item, message.values.add(), at.index(index))


def _load_any(value: Plain, message: Any, at: Path) -> None:
    if not isinstance(value, Mapping):
        at.error(f"expected an object with '@type', got {describe(value)}")
        return
    if not value:
        return
    type_url = value.get("@type")
    if not isinstance(type_url, str) or not type_url:
        at.error("'@type' is missing: it names the type of this configuration")
        return
    name = types.type_name(type_url)
    if type_url.rpartition("/")[0] == "":
        at.field("@type").error(
            f"not a type URL: '{type_url}'; did you mean 'type.googleapis.com/{name}'?", of_key=True
        )
        at.context.problems.taint(at)
        return
    rest = {key: item for key, item in value.items() if key != "@type"}
    message_class = types.message_class(name)
    if message_class is None:
        from config.proto.typed_config import known_types

        at.field("@type").error(f"unknown type '{name}'{did_you_mean(name, known_types())}")
        at.context.problems.taint(at)
        return
    inner: Any = message_class()
    if name in _SPECIAL:
        load_message(rest.get("value"), inner, at.field("value"))
    else:
        load_message(rest, inner, at)
    message.type_url = type_url
    message.value = inner.SerializeToString(deterministic=True)


_SPECIAL: Final[dict[str, Callable[[Plain, Any, Path], None]]] = {
    "google.protobuf.Any": _load_any,
    "google.protobuf.Duration": _load_duration,
    "google.protobuf.Timestamp": _load_timestamp,
    "google.protobuf.Struct": _load_struct,
    "google.protobuf.Value": _load_value,
    "google.protobuf.ListValue": _load_list,
    **{
        f"google.protobuf.{kind}Value": _load_wrapper
        for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
    },
}
