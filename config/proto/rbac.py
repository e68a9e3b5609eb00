"""Role-based access control: policies (envoy.config.rbac.v3) and the HTTP filter that enforces them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from config.expression import ExpressionError, check_node, node_of
from config.model.core import CidrRange
from config.model.expression import Node
from config.model.matching import PortRange, StringMatcher, StringMatchKind
from config.model.metadata_matching import MetadataSource
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
    RbacSpec,
    Rule,
    ServerNameRule,
    UrlPathRule,
)
from config.proto import expression as _expression  # noqa: F401  # declares the messages of conditions
from config.proto.core import enum_of, translate_cidr
from config.proto.fields import declare
from config.proto.matching import translate_header_matcher, translate_string_matcher
from config.proto.metadata_matching import translate_metadata_matcher
from config.proto.path import Path
from config.proto.uri_template import URI_TEMPLATES
from config.spelling import did_you_mean

RBAC: Final = "envoy.extensions.filters.http.rbac.v3.RBAC"
RBAC_PER_ROUTE: Final = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute"
_PACKAGE: Final = "envoy.config.rbac.v3"

#: The filter state that this proxy has: identities handed over by a tunnel.
FILTER_STATE_KEYS: Final = ("io.istio.peer_principal", "io.istio.local_principal")

declare(
    RBAC,
    "rules rules_stat_prefix shadow_rules shadow_rules_stat_prefix track_per_rule_stats",
    refused={
        "matcher": "policies are given as rules",
        "shadow_matcher": "policies are given as shadow_rules",
    },
)
declare(RBAC_PER_ROUTE, "rbac")
declare(
    f"{_PACKAGE}.RBAC", "action policies", ignored={"audit_logging_options": "there are no audit loggers"}
)
declare(
    f"{_PACKAGE}.Policy",
    "permissions principals condition checked_condition cel_config",
)
declare(
    f"{_PACKAGE}.Permission",
    "and_rules or_rules any header url_path destination_ip destination_port destination_port_range metadata not_rule "
    "requested_server_name sourced_metadata uri_template",
    refused="matcher",
)
declare(f"{_PACKAGE}.Permission.Set", "rules")
declare(
    f"{_PACKAGE}.Principal",
    "and_ids or_ids any authenticated source_ip direct_remote_ip remote_ip header url_path metadata not_id "
    "sourced_metadata",
    partly={"filter_state": ", ".join(FILTER_STATE_KEYS)},
    refused="custom",
)
declare(f"{_PACKAGE}.Principal.Set", "ids")
declare(f"{_PACKAGE}.Principal.Authenticated", "principal_name")
declare(f"{_PACKAGE}.SourcedMetadata", "metadata_matcher metadata_source")
declare("envoy.type.matcher.v3.PathMatcher", "path")
declare(
    "envoy.type.matcher.v3.FilterStateMatcher",
    "key string_match",
    refused={"address_match": "no filter state here is an address"},
)

#: Matches nothing: what stands for a rule that was reported.
_NOTHING: Final = OrRules(())
_Translator = Callable[[Any, Path], Rule]


def translate_rbac(msg: Any, at: Path) -> RbacSpec:
    return RbacSpec(
        rules=_optional_rules(msg, "rules", at),
        shadow_rules=_optional_rules(msg, "shadow_rules", at),
        rules_stat_prefix=msg.rules_stat_prefix,
        shadow_rules_stat_prefix=msg.shadow_rules_stat_prefix,
        track_per_rule_stats=msg.track_per_rule_stats,
    )


def translate_rbac_per_route(msg: Any, at: Path) -> RbacSpec:
    """Without `rbac` nothing is enforced on the route."""
    return translate_rbac(msg.rbac, at.field("rbac"))


def _optional_rules(msg: Any, field: str, at: Path) -> RbacRules | None:
    return translate_rules(getattr(msg, field), at.field(field)) if msg.HasField(field) else None


def translate_rules(msg: Any, at: Path) -> RbacRules:
    """An `envoy.config.rbac.v3.RBAC`, of the HTTP filter or of the network filter."""
    policies_at = at.field("policies")
    return RbacRules(
        enum_of(RbacAction, msg.action),
        tuple(
            _translate_policy(name, msg.policies[name], policies_at.key(name))
            for name in sorted(msg.policies)
        ),
    )


def _translate_policy(name: str, msg: Any, at: Path) -> RbacPolicy:
    permissions, principals = at.field("permissions"), at.field("principals")
    return RbacPolicy(
        name,
        OrRules(tuple(_permission(each, permissions.index(i)) for i, each in enumerate(msg.permissions))),
        OrRules(tuple(_principal(each, principals.index(i)) for i, each in enumerate(msg.principals))),
        _translate_condition(msg, at),
    )


def _translate_condition(msg: Any, at: Path) -> Node | None:
    if msg.HasField("condition") and msg.HasField("checked_condition"):
        at.field("checked_condition").error("condition is given as well")
    for field, expr in (("condition", msg.condition), ("checked_condition", msg.checked_condition.expr)):
        if msg.HasField(field):
            try:
                node = node_of(expr)
                check_node(node, plain=True)  # one that always fails would let everybody past a DENY
                return node
            except ExpressionError as error:
                at.field(field).error(f"not an expression that can be evaluated: {error}")
    return None


def _permission(msg: Any, at: Path) -> Rule:
    return _translate(msg, msg.WhichOneof("rule"), at, _PERMISSIONS)


def _principal(msg: Any, at: Path) -> Rule:
    return _translate(msg, msg.WhichOneof("identifier"), at, _PRINCIPALS)


def _translate(msg: Any, kind: str | None, at: Path, translators: dict[str, _Translator]) -> Rule:
    """What is unset or refused was reported."""
    translator = translators.get(kind or "")
    return translator(getattr(msg, kind), at.field(kind)) if translator is not None and kind else _NOTHING


def _members(messages: Any, at: Path, translate: _Translator) -> tuple[Rule, ...]:
    return tuple(translate(each, at.index(i)) for i, each in enumerate(messages))


def _ip_rule(ip_of: IpOf) -> _Translator:
    def translate(msg: Any, at: Path) -> Rule:
        cidr: CidrRange | None = translate_cidr(msg, at)
        return _NOTHING if cidr is None else IpRule(ip_of, cidr)

    return translate


def _port_range(msg: Any, at: Path) -> Rule:
    for field in ("start", "end"):
        if not 0 <= getattr(msg, field) <= 65536:
            at.field(field).error("must be from 0 to 65536")
    if msg.start >= msg.end:
        at.error("the start must be less than the end")
    return DestinationPortRule(PortRange(msg.start, msg.end))


def _url_path(msg: Any, at: Path) -> Rule:
    return UrlPathRule(translate_string_matcher(msg.path, at.field("path")))


def _uri_template(msg: Any, at: Path) -> Rule:
    template = URI_TEMPLATES.translate(msg.typed_config, at.field("typed_config"))
    return _NOTHING if template is None else UrlPathRule(template)


def _metadata(msg: Any, at: Path) -> Rule:
    return MetadataRule(translate_metadata_matcher(msg, at))


def _sourced_metadata(msg: Any, at: Path) -> Rule:
    source = enum_of(MetadataSource, msg.metadata_source)
    return MetadataRule(
        translate_metadata_matcher(msg.metadata_matcher, at.field("metadata_matcher"), source)
    )


def _authenticated(msg: Any, at: Path) -> Rule:
    if not msg.HasField("principal_name"):
        return AuthenticatedRule(None)
    return AuthenticatedRule(translate_string_matcher(msg.principal_name, at.field("principal_name")))


def _filter_state(msg: Any, at: Path) -> Rule:
    if msg.key not in FILTER_STATE_KEYS:
        hint = did_you_mean(msg.key, FILTER_STATE_KEYS)
        at.field("key").error(f"refused: no such filter state here: '{msg.key}'{hint}")
    string = StringMatcher(StringMatchKind.EXACT, "")
    if msg.WhichOneof("matcher") == "string_match":
        string = translate_string_matcher(msg.string_match, at.field("string_match"))
    return FilterStateRule(msg.key, string)


#: What both messages have.
_COMMON: Final[dict[str, _Translator]] = {
    "any": lambda msg, at: AnyRule(),
    "header": lambda msg, at: HeaderRule(translate_header_matcher(msg, at)),
    "url_path": _url_path,
    "metadata": _metadata,
    "sourced_metadata": _sourced_metadata,
}
_PERMISSIONS: Final[dict[str, _Translator]] = {
    **_COMMON,
    "and_rules": lambda msg, at: AndRules(_members(msg.rules, at.field("rules"), _permission)),
    "or_rules": lambda msg, at: OrRules(_members(msg.rules, at.field("rules"), _permission)),
    "not_rule": lambda msg, at: NotRule(_permission(msg, at)),
    "uri_template": _uri_template,
    "destination_ip": _ip_rule(IpOf.DESTINATION),
    "destination_port": lambda msg, at: DestinationPortRule(PortRange(msg, msg + 1)),
    "destination_port_range": _port_range,
    "requested_server_name": lambda msg, at: ServerNameRule(translate_string_matcher(msg, at)),
}
_PRINCIPALS: Final[dict[str, _Translator]] = {
    **_COMMON,
    "and_ids": lambda msg, at: AndRules(_members(msg.ids, at.field("ids"), _principal)),
    "or_ids": lambda msg, at: OrRules(_members(msg.ids, at.field("ids"), _principal)),
    "not_id": lambda msg, at: NotRule(_principal(msg, at)),
    "authenticated": _authenticated,
    "source_ip": _ip_rule(IpOf.CONNECTION),
    "direct_remote_ip": _ip_rule(IpOf.DIRECT_REMOTE),
    "remote_ip": _ip_rule(IpOf.REMOTE),
    "filter_state": _filter_state,
}
