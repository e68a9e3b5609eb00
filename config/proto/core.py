"""Values that many messages share: addresses, metadata, data sources, header edits (envoy.config.core.v3)."""

from __future__ import annotations

import enum
import ipaddress
import re
from typing import Any, Final, TypeVar

from config.model.core import (
    EMPTY_METADATA,
    NO_MUTATIONS,
    Address,
    CidrRange,
    DataSource,
    HeaderAppendAction,
    HeaderMutations,
    HeaderValueOption,
    InternalAddress,
    Locality,
    Metadata,
    Node,
    Percent,
    PipeAddress,
    SocketAddress,
)
from config.proto.fields import declare, noted
from config.proto.path import Path
from config.proto.typed_config import struct_to_plain

_UDP: Final = 1
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, 5.6.2
DENOMINATORS: Final = {0: 100, 1: 10_000, 2: 1_000_000}

declare("envoy.config.core.v3.Address", "socket_address pipe envoy_internal_address")
declare(
    "envoy.config.core.v3.SocketAddress",
    "address port_value",
    partly={"protocol": "TCP only, but for stats sinks"},
    no_effect={"ipv4_compat": "an IPv6 wildcard accepts IPv4 as the kernel is set"},
    refused="named_port resolver_name network_namespace_filepath",
)
declare("envoy.config.core.v3.Pipe", "path mode")
declare("envoy.config.core.v3.EnvoyInternalAddress", "server_listener_name endpoint_id")
declare(
    "envoy.config.core.v3.Node",
    "id cluster metadata locality",
    no_effect=noted(
        "dynamic_parameters user_agent_name user_agent_version user_agent_build_version extensions "
        "client_features listening_addresses",
        "told to a control plane only",
    ),
)
declare("envoy.config.core.v3.Locality", "region zone sub_zone")
declare(
    "envoy.config.core.v3.Metadata",
    "filter_metadata",
    ignored={"typed_filter_metadata": "only untyped metadata is kept"},
)
declare(
    "envoy.config.core.v3.DataSource",
    "filename inline_bytes inline_string environment_variable",
    ignored={"watched_directory": "files are read once"},
)
declare("envoy.config.core.v3.CidrRange", "address_prefix prefix_len")
declare("envoy.config.core.v3.HeaderValueOption", "header append append_action keep_empty_value")
declare("envoy.config.core.v3.HeaderValue", "key value raw_value")
declare(
    "envoy.config.core.v3.RuntimeFractionalPercent",
    "default_value",
    ignored={"runtime_key": "the default value counts"},
)
declare("envoy.type.v3.FractionalPercent", "numerator denominator")
declare("envoy.config.core.v3.TransportSocket", "typed_config", no_effect={"name": "the type decides"})


EnumT = TypeVar("EnumT", bound=enum.Enum)


def enum_of(kind: type[EnumT], number: int) -> EnumT:
    """The member with Envoy's number; the first one for a number that was reported as unknown elsewhere."""
    try:
        return kind(number)
    except ValueError:
        return next(iter(kind))


def duration_s(duration: Any) -> float:
    """A Duration in seconds."""
    return float(duration.seconds) + float(duration.nanos) / 1e9


def seconds(message: Any, field: str, default: float) -> float:
    """The Duration `field` in seconds, `default` if it is not set."""
    return duration_s(getattr(message, field)) if message.HasField(field) else default


def positive_seconds(message: Any, field: str, default: float | None, at: Path) -> float | None:
    """A timeout: `default` if it is not set, `None` if it is 0 (off); negative ones are reported."""
    if not message.HasField(field):
        return default
    value = duration_s(getattr(message, field))
    if value < 0:
        at.field(field).error("must not be negative")
    return value if value > 0 else None


def check_duration(message: Any, field: str, at: Path) -> None:
    if message.HasField(field) and duration_s(getattr(message, field)) < 0:
        at.field(field).error("must not be negative")


def wrapped_bool(message: Any, field: str, default: bool) -> bool:
    """The BoolValue `field`, `default` if it is not set."""
    return bool(getattr(message, field).value) if message.HasField(field) else default


def wrapped_int(message: Any, field: str, default: int) -> int:
    """The UInt32Value `field`, `default` if it is not set."""
    return int(getattr(message, field).value) if message.HasField(field) else default


def is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def translate_socket_address(
    msg: Any, at: Path, *, host_names: bool = False, datagrams: bool = False
) -> SocketAddress:
    """`host_names`: a DNS name is as good as an IP address. `datagrams`: it is UDP, whatever it says."""
    if msg.protocol == _UDP and not datagrams:
        at.field("protocol").error("refused: only TCP is supported")
    if msg.address and not host_names and not is_ip(msg.address):
        at.field("address").error(f"not an IP address: '{msg.address}'")
    return SocketAddress(msg.address, msg.port_value)


def translate_address(
    msg: Any, at: Path, *, host_names: bool = False, datagrams: bool = False
) -> Address | None:
    kind = msg.WhichOneof("address")
    if kind == "socket_address":
        return translate_socket_address(
            msg.socket_address, at.field("socket_address"), host_names=host_names, datagrams=datagrams
        )
    if kind == "pipe":
        if len(msg.pipe.path.encode()) > 107:
            at.field("pipe").field("path").error("longer than a Unix socket path may be (107 bytes)")
        if msg.pipe.mode and msg.pipe.path.startswith("@"):
            at.field("pipe").field("mode").error("an abstract socket has no mode")
        return PipeAddress(msg.pipe.path, msg.pipe.mode)
    if kind == "envoy_internal_address":
        internal = msg.envoy_internal_address
        return InternalAddress(internal.server_listener_name, internal.endpoint_id)
    return None


def translate_node(msg: Any, at: Path) -> Node:
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in msg.id):
        at.field("id").error("must not contain control characters: it is sent to peers in a header")
    return Node(msg.id, msg.cluster, struct_to_plain(msg.metadata), translate_locality(msg.locality))


def translate_locality(msg: Any) -> Locality:
    return Locality(msg.region, msg.zone, msg.sub_zone)


def translate_metadata(msg: Any, at: Path) -> Metadata:
    if not msg.filter_metadata:
        return EMPTY_METADATA
    return Metadata({name: struct_to_plain(struct) for name, struct in sorted(msg.filter_metadata.items())})


def optional_metadata(message: Any, field: str, at: Path) -> Metadata | None:
    return translate_metadata(getattr(message, field), at.field(field)) if message.HasField(field) else None


def translate_data_source(msg: Any, at: Path) -> DataSource:
    """Inline text as UTF-8 bytes. Nothing is read."""
    kind = msg.WhichOneof("specifier")
    if kind == "inline_bytes":
        return DataSource(inline=msg.inline_bytes)
    if kind == "inline_string":
        return DataSource(inline=msg.inline_string.encode())
    if kind == "filename":
        return DataSource(filename=msg.filename)
    return DataSource(environment_variable=msg.environment_variable)


def translate_cidr(msg: Any, at: Path) -> CidrRange | None:
    """`address_prefix` with the host bits cleared and a length that fits, as Envoy does; a missing length is 0."""
    length = wrapped_int(msg, "prefix_len", 0)
    try:
        address = ipaddress.ip_address(msg.address_prefix)
    except ValueError:
        at.field("address_prefix").error(f"not an IP address: '{msg.address_prefix}'")
        return None
    if length > address.max_prefixlen:
        at.field("prefix_len").warning(
            f"more than {address.max_prefixlen} bits: taken as {address.max_prefixlen}"
        )
        length = address.max_prefixlen
    network = ipaddress.ip_network((msg.address_prefix, length), strict=False)
    return CidrRange(str(network.network_address), length)


def translate_cidrs(messages: Any, at: Path) -> tuple[CidrRange, ...]:
    ranges = (translate_cidr(message, at.index(index)) for index, message in enumerate(messages))
    return tuple(cidr for cidr in ranges if cidr is not None)


def translate_fraction(msg: Any) -> float:
    """A FractionalPercent as a ratio, at most 1."""
    return min(1.0, float(msg.numerator) / DENOMINATORS.get(msg.denominator, 100))


def translate_runtime_fraction(msg: Any) -> Percent:
    return Percent(translate_fraction(msg.default_value))


def is_token(text: str) -> bool:
    """Whether it can be the name of a header or of a protocol. Envoy takes any text, which then never works."""
    return _TOKEN.fullmatch(text) is not None


def translate_header_value_option(msg: Any, at: Path) -> HeaderValueOption:
    key = msg.header.key.lower()
    if key == "host" or key.startswith(":"):
        at.field("header").field("key").error(f"'{msg.header.key}' cannot be edited as a header")
    elif not is_token(key):
        at.field("header").field("key").warning(
            f"'{key}' is no header name: what it is added to cannot be sent"
        )
    value = msg.header.value or msg.header.raw_value.decode("latin-1")
    check_format(value, at.field("header").field("value"))
    action = HeaderAppendAction.APPEND_IF_EXISTS_OR_ADD
    if msg.HasField("append"):
        if msg.append_action:
            at.field("append").error("cannot be set together with append_action")
        if not msg.append.value:
            action = HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
    else:
        action = enum_of(HeaderAppendAction, msg.append_action)
    return HeaderValueOption(key, value, action, msg.keep_empty_value)


def check_format(text: str, at: Path, extensions: tuple[str, ...] = ()) -> None:
    """Report a format string that cannot be compiled. `extensions` are the types of its formatters."""
    check = at.context.check_format
    if check is not None and (problem := check(text, extensions)) is not None:
        at.error(problem)


def _translate_additions(message: Any, field: str, at: Path) -> tuple[HeaderValueOption, ...]:
    items = getattr(message, field)
    return tuple(
        translate_header_value_option(item, at.item(field, index)) for index, item in enumerate(items)
    )


def _translate_removals(message: Any, field: str, at: Path) -> tuple[str, ...]:
    names = []
    for index, name in enumerate(getattr(message, field)):
        if name.startswith(":") or name.lower() == "host":
            at.item(field, index).error(f"'{name}' cannot be removed")
        names.append(name.lower())
    return tuple(names)


def translate_header_mutations(message: Any, at: Path) -> HeaderMutations:
    """The four `*_headers_to_*` fields of a route, virtual host, route configuration or cluster weight."""
    mutations = HeaderMutations(
        _translate_additions(message, "request_headers_to_add", at),
        _translate_removals(message, "request_headers_to_remove", at),
        _translate_additions(message, "response_headers_to_add", at),
        _translate_removals(message, "response_headers_to_remove", at),
    )
    return NO_MUTATIONS if mutations == NO_MUTATIONS else mutations
