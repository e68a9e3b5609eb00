"""Role-based access control (envoy.config.rbac.v3): policies of permissions, principals and a condition."""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from config.model.core import CidrRange
from config.model.expression import Node
from config.model.matching import HeaderMatcher, PortRange, StringMatcher
from config.model.metadata_matching import MetadataMatcher


class RbacAction(enum.Enum):
    ALLOW = 0
    DENY = 1
    LOG = 2


class IpOf(enum.Enum):
    """Whose address is judged."""

    DESTINATION = enum.auto()
    CONNECTION = enum.auto()  # the connection's remote address: `source_ip`
    DIRECT_REMOTE = enum.auto()  # the socket's peer, whatever PROXY protocol says
    REMOTE = enum.auto()  # the client found behind trusted proxies


class AnyRule(msgspec.Struct, frozen=True):
    """Matches everything."""


class AndRules(msgspec.Struct, frozen=True):
    members: tuple[Rule, ...]


class OrRules(msgspec.Struct, frozen=True):
    members: tuple[Rule, ...]


class NotRule(msgspec.Struct, frozen=True):
    member: Rule


class HeaderRule(msgspec.Struct, frozen=True):
    header: HeaderMatcher


class UrlPathRule(msgspec.Struct, frozen=True):
    """Judges the path without query and fragment."""

    path: StringMatcher


class IpRule(msgspec.Struct, frozen=True):
    ip_of: IpOf
    cidr: CidrRange


class DestinationPortRule(msgspec.Struct, frozen=True):
    ports: PortRange


class MetadataRule(msgspec.Struct, frozen=True):
    metadata: MetadataMatcher


class ServerNameRule(msgspec.Struct, frozen=True):
    """The SNI."""

    server_name: StringMatcher


class AuthenticatedRule(msgspec.Struct, frozen=True):
    """The peer of a TLS connection: one of its URI SANs, DNS SANs, or its subject. None: anybody."""

    principal_name: StringMatcher | None


class FilterStateRule(msgspec.Struct, frozen=True):
    key: str
    string: StringMatcher


#: A permission (what is done) or a principal (who does it); Envoy's two messages say the same things.
Rule: TypeAlias = (
    AnyRule
    | AndRules
    | OrRules
    | NotRule
    | HeaderRule
    | UrlPathRule
    | IpRule
    | DestinationPortRule
    | MetadataRule
    | ServerNameRule
    | AuthenticatedRule
    | FilterStateRule
)


class RbacPolicy(msgspec.Struct, frozen=True):
    """Matches when a permission, a principal and the condition (None: none) do."""

    name: str
    permissions: OrRules
    principals: OrRules
    condition: Node | None = None


class RbacRules(msgspec.Struct, frozen=True):
    """`policies` in the order of their names, which is the order in which they are asked."""

    action: RbacAction
    policies: tuple[RbacPolicy, ...]


class RbacSpec(msgspec.Struct, frozen=True):
    """`envoy.extensions.filters.http.rbac.v3.RBAC`, and what its network namesake has in common with it. None: no rules."""

    rules: RbacRules | None = None
    shadow_rules: RbacRules | None = None
    rules_stat_prefix: str = ""
    shadow_rules_stat_prefix: str = ""
    track_per_rule_stats: bool = False
