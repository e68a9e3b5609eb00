"""What this proxy does with every field of every Envoy message it reads.

Each translator module declares its messages next to its translators; `check_fields` enforces the declarations, and
`config.reference` prints them as the table of docs/configuration.md.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from google.protobuf.message import Message

from config.proto.path import Path


class Policy(enum.Enum):
    HONOURED = "honoured"
    NO_EFFECT = "no effect"  # accepted silently: tuning, or meaningless here
    IGNORED = "ignored"  # a warning when set
    REFUSED = "refused"  # an error when set


class FieldPolicy(msgspec.Struct, frozen=True):
    policy: Policy
    note: str = ""


#: Message type -> field -> policy.
POLICIES: Final[dict[str, dict[str, FieldPolicy]]] = {}


def noted(names: str, note: str) -> dict[str, str]:
    """One note for several fields (names separated by blanks)."""
    return dict.fromkeys(names.split(), note)


def declare(
    message: str,
    honoured: str = "",
    *,
    partly: Mapping[str, str] | None = None,
    no_effect: str | Mapping[str, str] = "",
    ignored: str | Mapping[str, str] = "",
    refused: str | Mapping[str, str] = "",
) -> None:
    """Say what is done with the fields of `message`: names separated by blanks, or names with notes.

    `partly` are honoured fields with a note about the values that are.
    """
    table = POLICIES.setdefault(message, {})
    for policy, names in (
        (Policy.HONOURED, honoured),
        (Policy.HONOURED, partly or {}),
        (Policy.NO_EFFECT, no_effect),
        (Policy.IGNORED, ignored),
        (Policy.REFUSED, refused),
    ):
        notes = noted(names, "") if isinstance(names, str) else names
        for name, note in notes.items():
            table[name] = FieldPolicy(policy, note)


def _is_default(value: Any) -> bool:
    """A wrapper that says what its absence says: `false`, 0, empty."""
    return (
        isinstance(value, Message)
        and value.DESCRIPTOR.full_name.startswith("google.protobuf.")
        and value.DESCRIPTOR.full_name.endswith("Value")
        and not getattr(value, "value", True)
    )


def check_fields(message: Message, at: Path) -> None:
    """Warn about fields that are ignored and report those that are refused, in `message` and all it holds.

    An `Any` is not opened: its translator checks what is inside.
    """
    table = POLICIES.get(message.DESCRIPTOR.full_name)
    if table is None:
        return
    for field, value in message.ListFields():
        entry = table[field.name]
        if entry.policy is Policy.NO_EFFECT:
            continue
        if entry.policy is Policy.IGNORED:
            if not _is_default(value):
                at.field(field.name).warning(f"ignored: {entry.note or 'not supported'}", of_key=True)
        elif entry.policy is Policy.REFUSED:
            if not _is_default(value):
                at.field(field.name).error(f"refused: {entry.note or 'not supported'}", of_key=True)
        elif field.message_type is not None:
            _check_inside(field, value, at.field(field.name))


def _check_inside(field: Any, value: Any, at: Path) -> None:
    if not field.is_repeated:
        check_fields(value, at)
    elif field.message_type.GetOptions().map_entry:
        if field.message_type.fields_by_name["value"].message_type is not None:
            for key in value:
                check_fields(value[key], at.key(key))
    else:
        for index, item in enumerate(value):
            check_fields(item, at.index(index))
