"""The engine of role-based access control: policies compiled to predicates, for the HTTP and the network filter alike."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from config.model.core import Address, CidrRange, SocketAddress
from config.model.rbac import (
    AndRules,
    AnyRule,
    AuthenticatedRule,
    DestinationPortRule,
    FilterStateRule,
    HeaderRule,
    IpOf,
    IpRule,
    MetadataRule,
    NotRule,
    OrRules,
    RbacAction,
    RbacPolicy,
    RbacRules,
    Rule,
    ServerNameRule,
    UrlPathRule,
)
from protocols.http.headers import Headers
from sidecar.expressions.api import Expression
from sidecar.expressions.attributes import Scope
from sidecar.policy.header_matching import compile_header_matcher
from sidecar.policy.matching import compile_bytes_matcher, compile_string_matcher
from sidecar.policy.metadata_matching import compile_metadata_matcher
from sidecar.stream_info import StreamInfo

Predicate: TypeAlias = Callable[[StreamInfo], bool]

#: A connection without a request has no headers (the network filter).
_NO_HEADERS: Final = Headers()


class Verdict(NamedTuple):
    """`policy` is the name of the policy that matched, "" if none did."""

    allowed: bool
    matched: bool
    policy: str


class RbacEngine:
    """One set of policies. Policies are asked in the order of their names; the first that matches decides."""

    __slots__ = ("_policies", "action")

    def __init__(self, rules: RbacRules) -> None:
        """Raises MatcherError for a bad regular expression."""
        self.action: Final = rules.action
        self._policies = tuple((each.name, _compile_policy(each)) for each in rules.policies)

    def judge(self, info: StreamInfo) -> Verdict:
        """ALLOW allows what matches, DENY what does not; LOG allows everything."""
        for name, matches in self._policies:
            if matches(info):
                return Verdict(self.action is not RbacAction.DENY, True, name)
        return Verdict(self.action is not RbacAction.ALLOW, False, "")


def _compile_policy(policy: RbacPolicy) -> Predicate:
    permitted, is_principal = _compile(policy.permissions), _compile(policy.principals)
    if policy.condition is None:
        return lambda info: permitted(info) and is_principal(info)
    # Envoy hands no node to conditions: `xds.node` has no value there
    condition = Expression(policy.condition, Scope(node=None)).is_true
    return lambda info: permitted(info) and is_principal(info) and condition(info)


def _compile(rule: Rule) -> Predicate:
    if isinstance(rule, AnyRule):
        return lambda info: True
    if isinstance(rule, (AndRules, OrRules)):
        return _compile_set(rule)
    if isinstance(rule, NotRule):
        inner = _compile(rule.member)
        return lambda info: not inner(info)
    if isinstance(rule, HeaderRule):
        header = compile_header_matcher(rule.header)
        return lambda info: header(info.request_headers if info.request_headers is not None else _NO_HEADERS)
    if isinstance(rule, UrlPathRule):
        return _url_path(rule)
    if isinstance(rule, MetadataRule):
        return compile_metadata_matcher(rule.metadata)
    return _compile_connection_rule(rule)


def _compile_connection_rule(
    rule: IpRule | DestinationPortRule | ServerNameRule | AuthenticatedRule | FilterStateRule,
) -> Predicate:
    if isinstance(rule, IpRule):
        inside, address_of = _compile_cidr(rule.cidr), _ADDRESSES[rule.ip_of]
        return lambda info: inside(address_of(info))
    if isinstance(rule, DestinationPortRule):
        return _destination_port(rule)
    if isinstance(rule, ServerNameRule):
        server_name = compile_string_matcher(rule.server_name)
        return lambda info: server_name(info.connection.requested_server_name)
    if isinstance(rule, AuthenticatedRule):
        return _authenticated(rule)
    string, state_of = compile_string_matcher(rule.string), _FILTER_STATE[rule.key]
    return lambda info: (state := state_of(info)) != "" and string(state)


def _compile_set(rule: AndRules | OrRules) -> Predicate:
    members = tuple(_compile(each) for each in rule.members)
    if len(members) == 1:
        return members[0]
    if isinstance(rule, AndRules):
        return lambda info: all(matches(info) for matches in members)
    return lambda info: any(matches(info) for matches in members)


def _url_path(rule: UrlPathRule) -> Predicate:
    """A request without a path (CONNECT) never matches."""
    judge = compile_bytes_matcher(rule.path)

    def matches(info: StreamInfo) -> bool:
        headers = info.request_headers
        if headers is None or not headers.path:
            return False
        return judge(headers.path.partition(b"?")[0].partition(b"#")[0])

    return matches


def _destination_port(rule: DestinationPortRule) -> Predicate:
    start, end = rule.ports.start, rule.ports.end

    def matches(info: StreamInfo) -> bool:
        address = info.connection.local_address
        return isinstance(address, SocketAddress) and start <= address.port < end

    return matches


def _authenticated(rule: AuthenticatedRule) -> Predicate:
    """Every URI SAN, every DNS SAN and the subject are principals; one that matches is enough (Envoy)."""
    if rule.principal_name is None:
        return lambda info: info.connection.tls is not None
    judge = compile_string_matcher(rule.principal_name)

    def matches(info: StreamInfo) -> bool:
        tls = info.connection.tls
        if tls is None:
            return False
        peer = tls.peer
        if peer is None:
            return judge("")
        return any(map(judge, peer.uri_sans)) or any(map(judge, peer.dns_sans)) or judge(peer.subject)

    return matches


_FILTER_STATE: Final[dict[str, Callable[[StreamInfo], str]]] = {
    "io.istio.peer_principal": lambda info: info.connection.peer_principal,
    "io.istio.local_principal": lambda info: info.connection.local_principal,
}


# Addresses

_ADDRESSES: Final[dict[IpOf, Callable[[StreamInfo], Address]]] = {
    IpOf.DESTINATION: lambda info: info.connection.local_address,
    IpOf.CONNECTION: lambda info: info.connection.remote_address,
    IpOf.DIRECT_REMOTE: lambda info: info.connection.direct_remote_address,
    IpOf.REMOTE: lambda info: info.remote_address or info.connection.remote_address,
}
_Ip: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


@lru_cache(maxsize=4096)
def _ip(text: str) -> _Ip | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _compile_cidr(cidr: CidrRange) -> Callable[[Address], bool]:
    """Only addresses of the same family are inside, a Unix domain socket never is."""
    network = ipaddress.ip_network(f"{cidr.address_prefix}/{cidr.prefix_len}", strict=False)

    def inside(address: Address) -> bool:
        ip = _ip(address.address) if isinstance(address, SocketAddress) else None
        return ip is not None and ip in network

    return inside
