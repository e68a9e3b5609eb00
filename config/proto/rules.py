"""The constraints that Envoy's own API files carry (`validate.rules`), judged on a whole message.

Only the kinds of rules that Envoy's configuration uses are known here; a rule this module does not know is no
constraint.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

import re2
from google.protobuf.message import Message
from validate import validate_pb2

from config.proto.path import Path
from config.proto.types import Descriptor, FieldDescriptor

Check: TypeAlias = Callable[[Any], "str | None"]

_HEADER_NAME: Final = re.compile(r":?[0-9a-zA-Z!#$%&'*+\-.^_|~`]+\Z")
_HEADER_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*\Z")
_HEADER_LOOSE: Final = re.compile(r"[^\x00\n\r]*\Z")
_NUMBERS: Final = frozenset(
    ("double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64",
     "fixed32", "fixed64", "sfixed32", "sfixed64")
)  # fmt: skip
_WRAPPERS: Final = frozenset(
    f"google.protobuf.{kind}Value"
    for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)


def _list(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values)


def _quantity(rules: Any, of: Callable[[Any], Any], show: Callable[[Any], str]) -> list[Check]:
    """const, lt, lte, gt, gte, in, not_in of numbers and durations."""
    checks: list[Check] = []

    def bound(name: str, holds: Callable[[Any, Any], bool], text: str) -> None:
        if rules.HasField(name):
            limit = getattr(rules, name)
            wanted = of(limit)
            checks.append(lambda v: None if holds(of(v), wanted) else f"must be {text} {show(limit)}")

    bound("const", lambda value, limit: bool(value == limit), "equal to")
    bound("lt", lambda value, limit: bool(value < limit), "less than")
    bound("lte", lambda value, limit: bool(value <= limit), "at most")
    bound("gt", lambda value, limit: bool(value > limit), "greater than")
    bound("gte", lambda value, limit: bool(value >= limit), "at least")
    allowed = [of(item) for item in getattr(rules, "in")]
    refused = [of(item) for item in rules.not_in]
    if allowed:
        checks.append(lambda v: None if of(v) in allowed else f"must be one of {_list(allowed)}")
    if refused:
        checks.append(lambda v: f"must not be {show(v)}" if of(v) in refused else None)
    return checks


def _duration_ns(duration: Any) -> int:
    return int(duration.seconds) * 1_000_000_000 + int(duration.nanos)


def _show_duration(duration: Any) -> str:
    return f"{_duration_ns(duration) / 1e9:.9f}".rstrip("0").rstrip(".") + "s"


def _length(rules: Any, low: str, high: str, size: Callable[[Any], int], unit: str) -> list[Check]:
    checks: list[Check] = []
    if rules.HasField(low) and (least := getattr(rules, low)) > 0:
        text = "must not be empty" if least == 1 else f"must have at least {least} {unit}"
        checks.append(lambda v: None if size(v) >= least else text)
    if rules.HasField(high):
        most = getattr(rules, high)
        checks.append(lambda v: None if size(v) <= most else f"must have at most {most} {unit}")
    return checks


def _exact_length(rules: Any, name: str, size: Callable[[Any], int], unit: str) -> list[Check]:
    if not rules.HasField(name):
        return []
    wanted = getattr(rules, name)
    return [lambda v: None if size(v) == wanted else f"must have exactly {wanted} {unit}"]


def _utf8_length(value: str) -> int:
    return len(value.encode())


def _is_ip(value: str, version: int = 0) -> bool:
    try:
        return version in (0, ipaddress.ip_address(value).version)
    except ValueError:
        return False


def _string_checks(rules: Any) -> list[Check]:
    checks = _length(rules, "min_len", "max_len", len, "characters")
    checks += _length(rules, "min_bytes", "max_bytes", _utf8_length, "bytes")
    checks += _exact_length(rules, "len", len, "characters")
    checks += _exact_length(rules, "len_bytes", _utf8_length, "bytes")
    if rules.HasField("pattern"):
        pattern = re2.compile(rules.pattern)
        text = f"must match the pattern {rules.pattern}"
        checks.append(lambda v: None if pattern.search(v) else text)
    for name, holds in (
        ("const", lambda value, other: value == other),
        ("prefix", lambda value, other: value.startswith(other)),
        ("suffix", lambda value, other: value.endswith(other)),
        ("contains", lambda value, other: other in value),
    ):
        if rules.HasField(name):
            other = getattr(rules, name)
            verb = {"const": "be", "prefix": "start with", "suffix": "end with"}.get(name, "contain")
            checks.append(lambda v, h=holds, o=other, t=verb: None if h(v, o) else f"must {t} '{o}'")  # type: ignore[misc]  # a default binds the loop's value
    allowed, refused = list(getattr(rules, "in")), list(rules.not_in)
    if allowed:
        checks.append(lambda v: None if v in allowed else f"must be one of {_list(allowed)}")
    if refused:
        checks.append(lambda v: f"must not be one of {_list(refused)}" if v in refused else None)
    return checks + _well_known_checks(rules)


def _well_known_checks(rules: Any) -> list[Check]:
    kind = rules.WhichOneof("well_known")
    if kind == "well_known_regex":
        strict = rules.strict if rules.HasField("strict") else True
        if rules.well_known_regex == validate_pb2.HTTP_HEADER_NAME:
            pattern = _HEADER_NAME if strict else _HEADER_LOOSE
            return [lambda v: None if pattern.match(v) else "not a valid HTTP header name"]
        pattern_ = _HEADER_VALUE if strict else _HEADER_LOOSE
        return [lambda v: None if pattern_.match(v) else "not a valid HTTP header value"]
    if kind in ("ip", "ipv4", "ipv6"):
        version = {"ip": 0, "ipv4": 4, "ipv6": 6}[kind]
        return [lambda v: None if _is_ip(v, version) else f"must be an {kind.replace('ip', 'IP')} address"]
    return []


def _enum_checks(rules: Any, field: FieldDescriptor) -> list[Check]:
    checks: list[Check] = []
    values = field.enum_type.values_by_number
    names = {number: value.name for number, value in values.items()}
    allowed, refused = list(getattr(rules, "in")), list(rules.not_in)
    usual = [name for number, name in names.items() if number not in refused]
    if rules.defined_only:
        checks.append(lambda v: None if v in names else f"must be one of {_list(usual)}")
    if allowed:
        text = f"must be one of {_list(names.get(n, n) for n in allowed)}"
        checks.append(lambda v: None if v in allowed else text)
    if refused:
        checks.append(lambda v: f"must be one of {_list(usual)}" if v in refused else None)
    return checks


def _value_checks(rules: Any, field: FieldDescriptor) -> list[Check]:
    """The checks of one value (an item, if the field is repeated)."""
    kind = rules.WhichOneof("type")
    if kind is None:
        return []
    typed = getattr(rules, kind)
    if kind in _NUMBERS:
        checks = _quantity(typed, lambda v: v, str)
    elif kind == "string":
        checks = _string_checks(typed)
    elif kind == "bytes":
        checks = _length(typed, "min_len", "max_len", len, "bytes") + _exact_length(
            typed, "len", len, "bytes"
        )
    elif kind == "bool":
        wanted = typed.const if typed.HasField("const") else None
        checks = [lambda v: None if wanted is None or v == wanted else f"must be {str(wanted).lower()}"]
    elif kind == "enum":
        checks = _enum_checks(typed, field)
    elif kind == "duration":
        checks = _quantity(typed, _duration_ns, _show_duration)
    else:
        return []
    if getattr(typed, "ignore_empty", False):
        inner = tuple(checks)
        return [lambda v: next((text for check in inner if (text := check(v))), None) if v else None]
    return checks


class _FieldRules:
    """The compiled rules of one field."""

    __slots__ = (
        "field",
        "is_map",
        "is_message",
        "is_wrapper",
        "item_checks",
        "key_checks",
        "list_checks",
        "required",
    )

    def __init__(self, field: FieldDescriptor) -> None:
        self.field = field
        message_type = field.message_type
        self.is_message = message_type is not None
        self.is_map = message_type is not None and bool(message_type.GetOptions().map_entry)
        self.is_wrapper = message_type is not None and message_type.full_name in _WRAPPERS
        self.required = False
        self.list_checks: list[Check] = []
        self.item_checks: list[Check] = []
        self.key_checks: list[Check] = []
        options = field.GetOptions()
        if not options.HasExtension(validate_pb2.rules):
            return
        rules = options.Extensions[validate_pb2.rules]
        self.required = rules.message.required or rules.any.required or rules.duration.required
        kind = rules.WhichOneof("type")
        if kind == "repeated":
            self._compile_repeated(rules.repeated)
        elif kind == "map":
            self.list_checks = _length(rules.map, "min_pairs", "max_pairs", len, "entries")
            self.key_checks = _value_checks(rules.map.keys, field)
        else:
            self.item_checks = _value_checks(rules, field)

    def _compile_repeated(self, repeated: Any) -> None:
        self.list_checks = _length(repeated, "min_items", "max_items", len, "items")
        if repeated.unique:
            self.list_checks.append(
                lambda v: None if len(set(v)) == len(v) else "must not hold a value twice"
            )
        self.item_checks = _value_checks(repeated.items, self.field)


@functools.cache
def _rules_of(
    full_name: str, descriptor: Descriptor
) -> tuple[tuple[_FieldRules, ...], tuple[tuple[str, str], ...]]:
    """All fields that have rules or must be walked into, and the oneofs that must be set with their members."""
    fields = []
    for field in descriptor.fields:
        rules = _FieldRules(field)
        if rules.required or rules.list_checks or rules.item_checks or rules.is_message:
            fields.append(rules)
    oneofs = [
        (oneof.name, _list(member.name for member in oneof.fields))
        for oneof in descriptor.oneofs
        if oneof.GetOptions().HasExtension(validate_pb2.required)
        and oneof.GetOptions().Extensions[validate_pb2.required]
    ]
    return tuple(fields), tuple(oneofs)


def _report(value: Any, checks: list[Check], at: Path, step: str | int | None = None) -> None:
    """Judge a value, which is the field or item `step` of `at` if that is given."""
    for check in checks:
        if (reason := check(value)) is not None:
            where = at if step is None else at.index(step) if isinstance(step, int) else at.field(step)
            where.error(reason)
            return


def check_rules(message: Message, at: Path) -> None:
    """Report every broken rule of `message` and of the messages in it (but not in an `Any`)."""
    fields, oneofs = _rules_of(message.DESCRIPTOR.full_name, message.DESCRIPTOR)
    for name, members in oneofs:
        if message.WhichOneof(name) is None:
            at.field(name).error(f"one of {members} is required")
    for rules in fields:
        field = rules.field
        name = field.name
        if field.is_repeated:
            values = getattr(message, name)
            if values or rules.list_checks:
                _check_repeated(values, rules, at.field(name))
        elif not rules.is_message:
            if not field.has_presence or message.HasField(name):
                _report(getattr(message, name), rules.item_checks, at, name)
        elif message.HasField(name):
            value = getattr(message, name)
            _report(value.value if rules.is_wrapper else value, rules.item_checks, at, name)
            if not rules.is_wrapper:
                check_rules(value, at.field(name))
        elif rules.required and field.containing_oneof is None:
            at.field(name).error("required")


def _check_repeated(values: Any, rules: _FieldRules, at: Path) -> None:
    _report(values, rules.list_checks, at)
    if rules.is_map:
        for key in values:
            _report(key, rules.key_checks, at.key(key))
        value_field = rules.field.message_type.fields_by_name["value"]
        if value_field.message_type is not None:
            for key in values:
                check_rules(values[key], at.key(key))
        return
    if not (rules.is_message or rules.item_checks):
        return
    for index, value in enumerate(values):
        _report(value, rules.item_checks, at, index)
        if rules.is_message:
            check_rules(value, at.index(index))
