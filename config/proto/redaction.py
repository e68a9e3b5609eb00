"""Messages without their secrets, for configuration dumps."""

from __future__ import annotations

from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError, Message

from config.proto import types
from config.proto.typed_config import TYPED_STRUCTS

MessageT = TypeVar("MessageT", bound=Message)

REDACTED: Final = "[redacted]"
#: Message type -> fields that hold secrets, each a DataSource or a list of them.
_SECRETS: Final = {
    "envoy.extensions.transport_sockets.tls.v3.TlsCertificate": ("private_key", "password", "pkcs12"),
    "envoy.extensions.transport_sockets.tls.v3.TlsSessionTicketKeys": ("keys",),
    "envoy.extensions.transport_sockets.tls.v3.GenericSecret": ("secret",),
}
#: The same fields where they are only keys of a Struct.
_STRUCT_SECRETS: Final = frozenset(("private_key", "privateKey", "password", "pkcs12"))
_ANY: Final = "google.protobuf.Any"


def redact(message: MessageT) -> MessageT:
    """A copy in which inline private keys, passwords and ticket keys read `[redacted]`, also inside an `Any`.

    Names of files and environment variables stay: they are no secrets.
    """
    copy = type(message)()
    copy.CopyFrom(message)
    _redact(copy)
    return copy


def _redact_source(source: Any) -> None:
    kind = source.WhichOneof("specifier")
    if kind == "inline_bytes":
        source.inline_bytes = REDACTED.encode()
    elif kind == "inline_string":
        source.inline_string = REDACTED


def _redact_secret_field(value: Any) -> None:
    for source in value if hasattr(value, "__len__") else (value,):
        _redact_source(source)


def _redact(message: Any) -> None:
    name = message.DESCRIPTOR.full_name
    if name == _ANY:
        _redact_any(message)
        return
    secrets = _SECRETS.get(name, ())
    for field, value in message.ListFields():
        if field.name in secrets:
            _redact_secret_field(value)
        elif field.message_type is None:
            continue
        elif not field.is_repeated:
            _redact(value)
        elif field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for key in value:
                    _redact(value[key])
        else:
            for item in value:
                _redact(item)


def _redact_any(message: Any) -> None:
    name = types.type_name(message.type_url)
    message_class = types.message_class(name)
    if message_class is None:
        return
    inner: Any = message_class()
    try:
        inner.ParseFromString(message.value)
    except DecodeError:
        return
    if name in TYPED_STRUCTS:
        _redact_struct(inner.value)
    else:
        _redact(inner)
    message.value = inner.SerializeToString(deterministic=True)


def _redact_struct(struct: Any) -> None:
    for key in struct.fields:
        value = struct.fields[key]
        if key in _STRUCT_SECRETS and value.HasField("struct_value"):
            for inline in ("inline_bytes", "inline_string", "inlineBytes", "inlineString"):
                if inline in value.struct_value.fields:
                    value.struct_value.fields[inline].string_value = REDACTED
        else:
            _redact_value(value)


def _redact_value(value: Any) -> None:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        _redact_struct(value.struct_value)
    elif kind == "list_value":
        for item in value.list_value.values:
            _redact_value(item)
