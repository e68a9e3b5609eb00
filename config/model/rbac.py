"""Role-based access control (envoy.config.rbac.v3): policies of permissions, principals and a condition."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

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


@dataclass(frozen=True, slots=True)
class AnyRule:
    """Matches everything."""


@dataclass(frozen=True, slots=True)
class AndRules:
    members: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class OrRules:
    members: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class NotRule:
    member: Rule


@dataclass(frozen=True, slots=True)
class HeaderRule:
    header: HeaderMatcher


@dataclass(frozen=True, slots=True)
class UrlPathRule:
    """Judges the path without query and fragment."""

    path: StringMatcher


@dataclass(frozen=True, slots=True)
class IpRule:
    ip_of: IpOf
    cidr: CidrRange


@dataclass(frozen=True, slots=True)
class DestinationPortRule:
    ports: PortRange


@dataclass(frozen=True, slots=True)
class MetadataRule:
    metadata: MetadataMatcher


@dataclass(frozen=True, slots=True)
class ServerNameRule:
    """The SNI."""

    server_name: StringMatcher


@dataclass(frozen=True, slots=True)
class AuthenticatedRule:
    """The peer of a TLS connection: one of its URI SANs, DNS SANs, or its subject. None: anybody."""

    principal_name: StringMatcher | None


@dataclass(frozen=True, slots=True)
class FilterStateRule:
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


@dataclass(frozen=True, slots=True)
class RbacPolicy:
    """Matches when a permission, a principal and the condition (None: none) do."""

    name: str
    permissions: OrRules
    principals: OrRules
    condition: Node | None = None


@dataclass(frozen=True, slots=True)
class RbacRules:
    """`policies` in the order of their names, which is the order in which they are asked."""

    action: RbacAction
    policies: tuple[RbacPolicy, ...]


@dataclass(frozen=True, slots=True)
class RbacSpec:
    """`envoy.extensions.filters.http.rbac.v3.RBAC`, and what its network namesake has in common with it. None: no rules."""

    rules: RbacRules | None = None
    shadow_rules: RbacRules | None = None
    rules_stat_prefix: str = ""
    shadow_rules_stat_prefix: str = ""
    track_per_rule_stats: bool = False
