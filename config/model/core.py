"""Small values that many messages share: addresses, metadata, data sources, header edits (envoy.config.core.v3)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import msgspec

#: A google.protobuf.Struct as plain values: str, float, bool, None, list of these, dict of str to these.
Struct: TypeAlias = Mapping[str, object]

EMPTY_STRUCT: Final[Struct] = {}


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """An IP address (textual, IPv6 without brackets) or, for DNS clusters, a host name; and a TCP port."""

    address: str
    port: int
    #: `str()` of it for log lines: most requests of a connection ask for it
    as_bytes: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "as_bytes", str(self).encode())

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    def overlaps(self, other: SocketAddress) -> bool:
        """Whether a connection could come to either, both being bound: the same, or one is the wildcard of the other's family."""
        if self.port != other.port or (":" in self.address) != (":" in other.address):
            return False
        return self.address == other.address or not {self.address, other.address}.isdisjoint(_WILDCARDS)


_WILDCARDS: Final = ("0.0.0.0", "::")


class PipeAddress(msgspec.Struct, frozen=True):
    """A Unix domain socket. A leading `@` means the abstract namespace."""

    path: str
    mode: int = 0

    @property
    def as_bytes(self) -> bytes:
        return self.path.encode("utf-8", "surrogateescape")

    def __str__(self) -> str:
        return self.path


class InternalAddress(msgspec.Struct, frozen=True):
    """An `envoy_internal_address`: a listener inside this process."""

    server_listener_name: str
    endpoint_id: str = ""

    @property
    def as_bytes(self) -> bytes:
        return str(self).encode()

    def __str__(self) -> str:
        return f"envoy://{self.server_listener_name}/{self.endpoint_id}"


Address: TypeAlias = SocketAddress | PipeAddress | InternalAddress


class TrafficDirection(enum.Enum):
    UNSPECIFIED = 0
    INBOUND = 1
    OUTBOUND = 2


class RoutingPriority(enum.Enum):
    DEFAULT = 0
    HIGH = 1


class Locality(msgspec.Struct, frozen=True):
    region: str = ""
    zone: str = ""
    sub_zone: str = ""


class Metadata(msgspec.Struct, frozen=True):
    """`filter_metadata` of a cluster, host, route or listener: namespace -> struct. Typed metadata is not kept."""

    filter_metadata: Mapping[str, Struct] = msgspec.field(default_factory=dict)

    def namespace(self, name: str) -> Struct:
        return self.filter_metadata.get(name, EMPTY_STRUCT)


EMPTY_METADATA: Final = Metadata()


class Node(msgspec.Struct, frozen=True):
    """Who this proxy is (`envoy.config.core.v3.Node`)."""

    id: str = ""
    cluster: str = ""
    metadata: Struct = msgspec.field(default_factory=dict)
    locality: Locality = Locality()


class DataSource(msgspec.Struct, frozen=True):
    """Bytes given inline, or the name of a file or environment variable that holds them. Exactly one is set.

    `config` does no I/O: whoever uses the source reads `filename` or `environment_variable`.
    """

    inline: bytes | None = None
    filename: str = ""
    environment_variable: str = ""


class CidrRange(msgspec.Struct, frozen=True):
    """`address_prefix` in canonical textual form and its length in bits."""

    address_prefix: str
    prefix_len: int


class Percent(msgspec.Struct, frozen=True):
    """A chance: `ratio` from 0.0 to 1.0."""

    ratio: float


class HeaderAppendAction(enum.Enum):
    """`HeaderValueOption.HeaderAppendAction`; `append: false` is read as OVERWRITE_IF_EXISTS_OR_ADD."""

    APPEND_IF_EXISTS_OR_ADD = 0
    ADD_IF_ABSENT = 1
    OVERWRITE_IF_EXISTS_OR_ADD = 2
    OVERWRITE_IF_EXISTS = 3


class HeaderValueOption(msgspec.Struct, frozen=True):
    """One header to add. `value` is a format string (`%DOWNSTREAM_REMOTE_ADDRESS%` and so on). `key` is lower case."""

    key: str
    value: str
    append_action: HeaderAppendAction = HeaderAppendAction.APPEND_IF_EXISTS_OR_ADD
    keep_empty_value: bool = False


class HeaderMutations(msgspec.Struct, frozen=True):
    """`*_headers_to_add` and `*_headers_to_remove` of one level (route, virtual host, route configuration, cluster weight)."""

    request_add: tuple[HeaderValueOption, ...] = ()
    request_remove: tuple[str, ...] = ()
    response_add: tuple[HeaderValueOption, ...] = ()
    response_remove: tuple[str, ...] = ()


NO_MUTATIONS: Final = HeaderMutations()
