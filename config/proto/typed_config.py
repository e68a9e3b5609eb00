"""Extensions by type: opening an `Any` or a `TypedStruct`, and choosing the translator by the type inside.

As in Envoy the type URL decides and the extension's `name` does not. A `TypedStruct` may leave out the
`type.googleapis.com/` of its type URL and its `value`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Generic, TypeVar

from google.protobuf.message import DecodeError

from config.proto import types
from config.proto.fields import check_fields
from config.proto.loader import load_message
from config.proto.path import Path
from config.proto.rules import check_rules
from config.spelling import did_you_mean

T = TypeVar("T")

TYPED_STRUCTS: Final = frozenset({"udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct"})

#: What kinds of extension each type is, over all tables.
_KINDS: Final[dict[str, list[str]]] = {}


def known_types() -> Iterable[str]:
    """Every type that some table translates or knowingly skips."""
    return [*_KINDS, *TYPED_STRUCTS]


def struct_to_plain(struct: Any) -> dict[str, object]:
    """A `google.protobuf.Struct` as plain values."""
    return {key: value_to_plain(value) for key, value in struct.fields.items()}


def value_to_plain(value: Any) -> object:
    kind = value.WhichOneof("kind")
    if kind is None or kind == "null_value":
        return None
    if kind == "struct_value":
        return struct_to_plain(value.struct_value)
    if kind == "list_value":
        return [value_to_plain(item) for item in value.list_value.values]
    plain: object = getattr(value, kind)
    return plain


class Opened:
    """What an `Any` holds: the type inside, where its fields stand, and how to get the message."""

    __slots__ = ("_any", "_struct", "at", "type_name")

    def __init__(self, any_message: Any, at: Path) -> None:
        self._any = any_message
        self._struct: Any = None
        self.at = at
        self.type_name = types.type_name(any_message.type_url)
        if self.type_name in TYPED_STRUCTS:
            self._struct = self._parse(self.type_name, any_message.value)
            self.type_name = types.type_name(self._struct.type_url) if self._struct is not None else ""
            self.at = at.field("value")

    def _parse(self, name: str, data: bytes) -> Any:
        message_class = types.message_class(name)
        if message_class is None:
            return None
        message = message_class()
        try:
            message.ParseFromString(data)
        except DecodeError:
            self.at.error(f"the bytes are no {name}")
            return None
        return message

    def message(self) -> Any:
        """The message inside, checked; `None` if it cannot be read (reported) or its type is unknown."""
        if self._struct is None:
            message = self._parse(self.type_name, self._any.value)
        else:
            message_class = types.message_class(self.type_name)
            message = message_class() if message_class is not None else None
            if message is not None:
                load_message(struct_to_plain(self._struct.value), message, self.at)
        if message is not None:
            check_rules(message, self.at)
            check_fields(message, self.at)
        return message

    @property
    def is_empty(self) -> bool:
        """No configuration inside: nothing but the type."""
        if self._struct is not None:
            return not self._struct.value.fields
        return not self._any.value


class ExtensionTable(Generic[T]):
    """The extensions of one kind: type -> translator; and those that are skipped with a warning.

    `what` names the kind in messages ("an HTTP filter"). `skip_others` says why any other type that Envoy has is
    skipped as well; without it such a type is refused.
    """

    def __init__(
        self,
        what: str,
        translators: Mapping[str, Callable[[Any, Path], T | None]],
        skipped: Mapping[str, str] | None = None,
        skipped_if_empty: Mapping[str, str] | None = None,
        skip_others: str = "",
    ) -> None:
        self.what = what
        self.translators = dict(translators)
        self.skipped = dict(skipped or {})
        self.skipped_if_empty = dict(skipped_if_empty or {})
        self.skip_others = skip_others
        for name in (*self.translators, *self.skipped, *self.skipped_if_empty):
            _KINDS.setdefault(name, []).append(what)

    def translate(self, any_message: Any, at: Path, *, optional: bool = False) -> T | None:
        """The spec of the extension; `None` if it is skipped (a warning) or cannot be used (an error).

        `optional`: an extension that this proxy does not have is skipped, not refused.
        """
        if not any_message.type_url:
            at.error(f"{self.what} is chosen by the type of its typed_config, which is missing")
            return None
        opened = Opened(any_message, at)
        name = opened.type_name
        translator = self.translators.get(name)
        if translator is not None:
            message = opened.message()
            return None if message is None else translator(message, opened.at)
        if name in self.skipped:
            at.warning(f"ignored: {self.skipped[name]}")
        elif name in self.skipped_if_empty and opened.is_empty:
            at.warning(f"ignored: {self.skipped_if_empty[name]}")
        elif self.skip_others and types.message_class(name) is not None:
            at.warning(f"ignored: {name} ({self.skip_others})")
        elif optional:
            at.warning(f"ignored: {name} is optional and not supported")
        else:
            at.error(self._refusal(name))
        return None

    def _refusal(self, name: str) -> str:
        if not name:
            return f"{self.what} is chosen by the type_url of its TypedStruct, which is missing"
        if name in self.skipped_if_empty:
            return f"refused: {name} is not supported with a configuration"
        kinds = [kind for kind in _KINDS.get(name, ()) if kind != self.what]
        if kinds:
            return f"{name} is {' and '.join(kinds)}, not {self.what}"
        if types.message_class(name) is not None:
            return f"refused: {name} is not supported as {self.what}"
        return f"unknown type '{name}' for {self.what}{did_you_mean(name, self.translators)}"
