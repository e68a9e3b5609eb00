"""Which filter chain takes a connection: Envoy's FilterChainMatch, compiled once into nested tables.

The criteria are judged in Envoy's fixed order: destination port, destination IP, server name, transport protocol,
application protocols, direct source IP, source type, source IP, source port. At each level the most specific entry wins
and there is no way back: when a later level then finds nothing, no chain matches (and the default chain, if any, is taken).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from config.model.core import CidrRange, SocketAddress
from config.model.listener import FilterChainMatch, SourceType
from sidecar.stream_info import ConnectionInfo

Chain = TypeVar("Chain")

_ANY: Final = None
Criterion = object
Level = dict[Criterion, Any]


@dataclass(frozen=True, slots=True)
class _Cidr:
    """A network as integers: cheap to test, hashable as a table key."""

    version: int
    network: int
    mask: int
    length: int
    text: str = field(compare=False)

    @classmethod
    def of(cls, cidr: CidrRange) -> _Cidr:
        network = ipaddress.ip_network(f"{cidr.address_prefix}/{cidr.prefix_len}", strict=False)
        return cls(
            network.version,
            int(network.network_address),
            int(network.netmask),
            network.prefixlen,
            str(network),
        )

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class _Ip:
    version: int
    value: int


def _ip_of(address: object) -> _Ip | None:
    if not isinstance(address, SocketAddress):
        return None
    try:
        parsed = ipaddress.ip_address(address.address)
    except ValueError:
        return None
    return _Ip(parsed.version, int(parsed))


def _longest_prefix(level: Level, address: _Ip | None) -> Criterion:
    best: _Cidr | None = None
    if address is not None:
        for cidr in level:
            if (
                isinstance(cidr, _Cidr)
                and cidr.version == address.version
                and address.value & cidr.mask == cidr.network
                and (best is None or cidr.length > best.length)
            ):
                best = cidr
    return best


def _server_name(level: Level, name: str) -> Criterion:
    """Exact name, then the longest `*.suffix`; the table holds wildcards as `.suffix`."""
    if not name:
        return _ANY
    if name in level:
        return name
    dot = name.find(".")
    while dot != -1:
        if name[dot:] in level:
            return name[dot:]
        dot = name.find(".", dot + 1)
    return _ANY


def _first_listed(level: Level, protocols: Sequence[str]) -> Criterion:
    """The first of the client's tokens, in the client's order, that some chain lists."""
    for protocol in protocols:
        if protocol in level:
            return protocol
    return _ANY


def _is_local(info: ConnectionInfo) -> bool:
    """Envoy's SAME_IP_OR_LOOPBACK: the peer has our own address, or a loopback one, or is a Unix socket."""
    remote, local = info.remote_address, info.local_address
    if not isinstance(remote, SocketAddress):
        return True
    if isinstance(local, SocketAddress) and remote.address == local.address:
        return True
    try:
        return ipaddress.ip_address(remote.address).is_loopback
    except ValueError:
        return False


def _source_type(level: Level, local: bool) -> Criterion:
    wanted = SourceType.SAME_IP_OR_LOOPBACK if local else SourceType.EXTERNAL
    return wanted if wanted in level else SourceType.ANY


def _exact(level: Level, value: object) -> Criterion:
    return value if value in level else _ANY


#: name for people, how a connection picks its entry at this level
_LEVELS: Final[tuple[tuple[str, Callable[[Level, ConnectionInfo], Criterion]], ...]] = (
    (
        "destination_port",
        lambda level, i: _exact(
            level, i.local_address.port if isinstance(i.local_address, SocketAddress) else None
        ),
    ),
    ("prefix_ranges", lambda level, i: _longest_prefix(level, _ip_of(i.local_address))),
    ("server_names", lambda level, i: _server_name(level, i.requested_server_name)),
    ("transport_protocol", lambda level, i: _exact(level, i.transport_protocol or "raw_buffer")),
    ("application_protocols", lambda level, i: _first_listed(level, i.application_protocols)),
    ("direct_source_prefix_ranges", lambda level, i: _longest_prefix(level, _ip_of(i.direct_remote_address))),
    ("source_type", lambda level, i: _source_type(level, _is_local(i))),
    ("source_prefix_ranges", lambda level, i: _longest_prefix(level, _ip_of(i.remote_address))),
    (
        "source_ports",
        lambda level, i: _exact(
            level, i.remote_address.port if isinstance(i.remote_address, SocketAddress) else None
        ),
    ),
)


def _criteria(match: FilterChainMatch) -> tuple[tuple[Criterion, ...], ...]:
    """For each level the entries under which the chain is found; a chain that does not care is under the wildcard."""

    def some(values: Iterable[Criterion]) -> tuple[Criterion, ...]:
        return tuple(values) or (_ANY,)

    return (
        (match.destination_port or _ANY,),
        some(map(_Cidr.of, match.prefix_ranges)),
        some(name[1:] if name.startswith("*.") else name for name in match.server_names),
        (match.transport_protocol or _ANY,),
        some(match.application_protocols),
        some(map(_Cidr.of, match.direct_source_prefix_ranges)),
        (match.source_type,),
        some(map(_Cidr.of, match.source_prefix_ranges)),
        some(match.source_ports),
    )


class FilterChainMatcher(Generic[Chain]):
    """The compiled match of one listener. Pure: `match` and `explain` share the tables."""

    def __init__(self, chains: Sequence[tuple[FilterChainMatch, Chain]], default: Chain | None) -> None:
        self._root: Level = {}
        self._default = default
        for match, chain in chains:
            self._insert(self._root, _criteria(match), chain)

    def _insert(self, level: Level, criteria: tuple[tuple[Criterion, ...], ...], chain: Chain) -> None:
        for entry in criteria[0]:
            if len(criteria) == 1:
                level.setdefault(entry, chain)
            else:
                self._insert(level.setdefault(entry, {}), criteria[1:], chain)

    def match(self, info: ConnectionInfo) -> Chain | None:
        """The chain, the default chain, or None."""
        level: Any = self._root
        for _, pick in _LEVELS:
            level = level.get(pick(level, info))
            if level is None:
                return self._default
        found: Chain = level
        return found

    def explain(self, info: ConnectionInfo) -> list[str]:
        """The decision level by level, for people."""
        lines: list[str] = []
        level: Any = self._root
        for name, pick in _LEVELS:
            entry = pick(level, info)
            known = ", ".join(sorted("(any)" if key is _ANY else str(key) for key in level)) or "nothing"
            level = level.get(entry)
            if level is None:
                outcome = (
                    "the default filter chain" if self._default is not None else "no filter chain: closed"
                )
                lines.append(f"{name}: nothing fits among {known} -> {outcome}")
                return lines
            if not isinstance(level, Mapping) or entry is not _ANY:
                lines.append(f"{name}: {'(any)' if entry is _ANY else entry} (of {known})")
        lines.append(f"-> {level}")
        return lines
