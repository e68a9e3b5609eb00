"""Role-based access control: messages as specs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from config.model.core import CidrRange
from config.model.expression import Call, Constant, Identifier
from config.model.http import HttpConnectionManagerSpec
from config.model.matching import HeaderMatcher, PortRange, StringMatcher, StringMatchKind
from config.model.metadata_matching import (
    BoolValue,
    ListValue,
    MetadataMatcher,
    MetadataSource,
    NullValue,
    NumberValue,
    OrValue,
    PresentValue,
    StringValue,
    ValueMatcher,
)
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
    RbacSpec,
    Rule,
    ServerNameRule,
    UrlPathRule,
)
from config.model.route import FilterOverride, RouteAction
from tests.unit.config.bootstraps import EXTENSIONS, ROUTER, http, parse, problems

ISTIOD = Path(__file__).parents[3] / "golden" / "istiod_authz"
OUTPUTS = sorted(ISTIOD.glob("*.yaml"))
EXACT = StringMatcher(StringMatchKind.EXACT, "x")
TEMPLATE = f'"@type": {EXTENSIONS}path.match.uri_template.v3.UriTemplateMatchConfig'
PER_ROUTE = f'"@type": {EXTENSIONS}filters.http.rbac.v3.RBACPerRoute'
FILTER_CONFIG = '"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig'


TRUE = "{const_expr: {bool_value: true}}"
COMPREHENSION = (
    f"{{comprehension_expr: {{iter_var: a, accu_var: b, iter_range: {{list_expr: {{}}}}, accu_init: {TRUE}, "
    f"loop_condition: {TRUE}, loop_step: {TRUE}, result: {TRUE}}}}}"
)
MATCHES = "{call_expr: {function: matches, target: {ident_expr: {name: a}}, args: [{const_expr: {string_value: '('}}]}}"


def filters(fields: str) -> str:
    """An RBAC filter and the router; `fields` in YAML's flow style."""
    typed = f'{{"@type": {EXTENSIONS}filters.http.rbac.v3.RBAC, {fields}}}'
    return f"[{{name: rbac, typed_config: {typed}}}, {ROUTER}]"


def manager(text: str) -> HttpConnectionManagerSpec:
    spec = parse(text).bootstrap.listeners[0].filter_chains[0].filters[0]
    assert isinstance(spec, HttpConnectionManagerSpec)
    return spec


def rbac(fields: str) -> RbacSpec:
    spec = manager(http(filters=filters(fields))).http_filters[0].spec
    assert isinstance(spec, RbacSpec)
    return spec


def policy(permissions: str = "{any: true}", principals: str = "{any: true}", more: str = "") -> str:
    return f"rules: {{policies: {{p: {{permissions: [{permissions}], principals: [{principals}] {more}}}}}}}"


@pytest.mark.parametrize(
    ("flow", "rule"),
    [
        ("{any: true}", AnyRule()),
        (
            "{and_rules: {rules: [{any: true}, {not_rule: {any: true}}]}}",
            AndRules((AnyRule(), NotRule(AnyRule()))),
        ),
        ("{or_rules: {rules: [{any: true}]}}", OrRules((AnyRule(),))),
        ("{header: {name: A, string_match: {exact: x}}}", HeaderRule(HeaderMatcher("a", EXACT))),
        ("{url_path: {path: {exact: x}}}", UrlPathRule(EXACT)),
        (
            "{destination_ip: {address_prefix: 10.1.2.3, prefix_len: 8}}",
            IpRule(IpOf.DESTINATION, CidrRange("10.0.0.0", 8)),
        ),
        (
            f"{{uri_template: {{name: x, typed_config: {{{TEMPLATE}, path_template: /a}}}}}}",
            UrlPathRule(StringMatcher(StringMatchKind.REGEX, "/a")),
        ),
        ("{destination_port: 80}", DestinationPortRule(PortRange(80, 81))),
        ("{destination_port_range: {start: 1, end: 65536}}", DestinationPortRule(PortRange(1, 65536))),
        (
            "{metadata: {filter: f, path: [{key: a}, {key: b}], value: {null_match: {}}, invert: true}}",
            MetadataRule(MetadataMatcher("f", ("a", "b"), NullValue(), invert=True)),
        ),
        (
            (
                "{sourced_metadata: {metadata_source: ROUTE, metadata_matcher: {filter: f, path: [{key: a}], "
                "value: {bool_match: true}}}}"
            ),
            MetadataRule(MetadataMatcher("f", ("a",), BoolValue(True), source=MetadataSource.ROUTE)),
        ),
        ("{requested_server_name: {exact: x}}", ServerNameRule(EXACT)),
    ],
)
def test_permissions(flow: str, rule: Rule) -> None:
    rules = rbac(policy(permissions=flow)).rules
    assert rules is not None
    assert rules.policies[0].permissions == OrRules((rule,))


CIDR = "{address_prefix: 10.0.0.1, prefix_len: 32}"


@pytest.mark.parametrize(
    ("flow", "rule"),
    [
        ("{and_ids: {ids: [{any: true}, {not_id: {any: true}}]}}", AndRules((AnyRule(), NotRule(AnyRule())))),
        ("{or_ids: {ids: [{any: true}]}}", OrRules((AnyRule(),))),
        ("{authenticated: {}}", AuthenticatedRule(None)),
        ("{authenticated: {principal_name: {exact: x}}}", AuthenticatedRule(EXACT)),
        (f"{{source_ip: {CIDR}}}", IpRule(IpOf.CONNECTION, CidrRange("10.0.0.1", 32))),
        (f"{{direct_remote_ip: {CIDR}}}", IpRule(IpOf.DIRECT_REMOTE, CidrRange("10.0.0.1", 32))),
        (f"{{remote_ip: {CIDR}}}", IpRule(IpOf.REMOTE, CidrRange("10.0.0.1", 32))),
        ("{header: {name: a, string_match: {exact: x}}}", HeaderRule(HeaderMatcher("a", EXACT))),
        ("{url_path: {path: {exact: x}}}", UrlPathRule(EXACT)),
        (
            "{filter_state: {key: io.istio.peer_principal, string_match: {exact: x}}}",
            FilterStateRule("io.istio.peer_principal", EXACT),
        ),
    ],
)
def test_principals(flow: str, rule: Rule) -> None:
    rules = rbac(policy(principals=flow)).rules
    assert rules is not None
    assert rules.policies[0].principals == OrRules((rule,))


@pytest.mark.parametrize(
    ("flow", "value"),
    [
        ("{double_match: {exact: 1.5}}", NumberValue(1.5)),
        ("{double_match: {range: {start: 1, end: 2}}}", NumberValue(None, 1, 2)),
        ("{string_match: {exact: x}}", StringValue(EXACT)),
        ("{present_match: true}", PresentValue(True)),
        ("{list_match: {one_of: {string_match: {exact: x}}}}", ListValue(StringValue(EXACT))),
        (
            "{or_match: {value_matchers: [{bool_match: false}, {null_match: {}}]}}",
            OrValue((BoolValue(False), NullValue())),
        ),
    ],
)
def test_metadata_values(flow: str, value: ValueMatcher) -> None:
    rules = rbac(policy(f"{{metadata: {{filter: f, path: [{{key: a}}], value: {flow}}}}}")).rules
    assert rules is not None
    assert rules.policies[0].permissions == OrRules((MetadataRule(MetadataMatcher("f", ("a",), value)),))


def test_policies_are_in_the_order_of_their_names() -> None:
    entry = "{permissions: [{any: true}], principals: [{any: true}]}"
    spec = rbac(
        f"rules_stat_prefix: r, shadow_rules: {{action: DENY}}, shadow_rules_stat_prefix: s, track_per_rule_stats: true, "
        f"rules: {{action: LOG, policies: {{b: {entry}, c: {entry}, a: {entry}}}}}"
    )
    assert spec.rules is not None
    assert spec.shadow_rules is not None
    assert spec.rules.action is RbacAction.LOG
    assert [each.name for each in spec.rules.policies] == ["a", "b", "c"]
    assert spec.shadow_rules.action is RbacAction.DENY
    assert (spec.rules_stat_prefix, spec.shadow_rules_stat_prefix, spec.track_per_rule_stats) == (
        "r",
        "s",
        True,
    )
    assert rbac("") == RbacSpec()


CONDITION = "{call_expr: {function: _==_, args: [{ident_expr: {name: a}}, {const_expr: {int64_value: 1}}]}}"


@pytest.mark.parametrize("more", [f", condition: {CONDITION}", f", checked_condition: {{expr: {CONDITION}}}"])
def test_conditions(more: str) -> None:
    rules = rbac(policy(more=more)).rules
    assert rules is not None
    assert rules.policies[0].condition == Call("_==_", (Identifier("a"), Constant(1)))


@pytest.mark.parametrize(
    ("fields", "path", "reason"),
    [
        (policy(permissions="{}"), 'permissions[0].rule', "is required"),
        (policy(principals="{}"), 'principals[0].identifier', "is required"),
        ("rules: {policies: {p: {principals: [{any: true}]}}}", "permissions", "must not be empty"),
        (policy("{destination_port_range: {start: 5, end: 5}}"), "destination_port_range", "less than the end"),
        (policy("{destination_port_range: {start: -1, end: 5}}"), "destination_port_range.start", "from 0 to 65536"),
        (policy("{url_path: {path: {safe_regex: {regex: '('}}}}"), "regex", "not a valid RE2"),
        (policy("{destination_ip: {address_prefix: x, prefix_len: 8}}"), "address_prefix", "not an IP address"),
        (policy("{matcher: {name: x}}"), "matcher", "refused"),
        (policy(f"{{uri_template: {{name: x, typed_config: {{{TEMPLATE}, path_template: a}}}}}}"), "path_template", "begin with /"),
        (policy("{uri_template: {name: x}}"), "typed_config", "required"),
        (policy(principals="{custom: {name: x}}"), "custom", "refused"),
        (
            policy(principals="{filter_state: {key: io.istio.peer_principals, string_match: {exact: x}}}"),
            "filter_state.key",
            "did you mean 'io.istio.peer_principal'",
        ),
        (policy(more=", condition: {call_expr: {function: f, args: [{}]}}"), "condition", "an expression is empty"),
        (policy(more=", condition: {call_expr: {function: f}}"), "condition", "there is no function f of 0 operands"),
        (policy(more=", condition: {call_expr: {function: _&&_, args: [{const_expr: {bool_value: true}}]}}"), "condition", "of 1 operands"),
        (policy(more=", condition: {struct_expr: {message_name: Foo}}"), "condition", "a message is not allowed"),
        (policy(more=f", condition: {COMPREHENSION}"), "condition", "a macro over a list or map is not allowed"),
        (policy(more=f", condition: {MATCHES}"), "condition", "bad regular expression '('"),
        (policy(more=f", condition: {CONDITION}, cel_config: {{enable_string_functions: true}}"), "enable_string_functions", "refused"),
        ("matcher: {}", "matcher", "policies are given as rules"),
        ("rules: {action: 7}", "action", ""),
    ],
)  # fmt: skip
def test_problems(fields: str, path: str, reason: str) -> None:
    found = problems(http(filters=filters(fields)))
    assert any(f"{path}: " in each and reason in each for each in found), found


def test_audit_loggers_are_ignored_aloud() -> None:
    warnings = parse(http(filters=filters("rules: {audit_logging_options: {audit_condition: 1}}"))).warnings
    assert [each.reason for each in warnings] == ["ignored: there are no audit loggers"]


def test_overrides_of_all_levels() -> None:
    entry = f"{{{PER_ROUTE}, rbac: {{rules: {{}}}}}}"
    spec = manager(
        http(
            filters=filters(""),
            config=f"typed_per_filter_config: {{a: {{{FILTER_CONFIG}, disabled: true}}}},",
            host=f'domains: ["*"], typed_per_filter_config: {{b: {{{FILTER_CONFIG}, config: {entry}}}}}',
            route="match: {prefix: /}, "
            f"typed_per_filter_config: {{c: {{{PER_ROUTE}}}, d: {{{FILTER_CONFIG}}}}}, "
            f"route: {{weighted_clusters: {{clusters: [{{name: c, weight: 1, typed_per_filter_config: {{e: {entry}}}}}]}}}}",
        )
    ).route_config
    host = spec.virtual_hosts[0]
    route = host.routes[0]
    action = route.action
    assert isinstance(action, RouteAction)
    deny_all = rbac("rules: {}")
    assert spec.filter_overrides == {"a": FilterOverride(disabled=True)}
    assert host.filter_overrides == {"b": FilterOverride(spec=deny_all)}
    assert route.filter_overrides == {"c": FilterOverride(spec=RbacSpec()), "d": FilterOverride()}
    assert action.weighted_clusters[0].filter_overrides == {"e": FilterOverride(spec=deny_all)}


def test_overrides_of_filters_that_have_none_are_refused() -> None:
    cors = f'{{"@type": {EXTENSIONS}filters.http.cors.v3.CorsPolicy}}'
    optional = f"{{{FILTER_CONFIG}, is_optional: true, config: {cors}}}"
    text = "match: {{prefix: /}}, route: {{cluster: c}}, typed_per_filter_config: {{x: {}}}"
    (problem,) = problems(http(route=text.format(cors)))
    assert "refused: envoy.extensions.filters.http.cors.v3.CorsPolicy" in problem
    parsed = parse(http(route=text.format(optional)))
    assert [each.reason.partition(":")[0] for each in parsed.warnings] == ["ignored"]


@pytest.mark.parametrize("path", OUTPUTS, ids=lambda path: path.stem)
def test_what_istiod_makes_of_authorization_policies_is_taken(path: Path) -> None:
    """As it is, without a warning."""
    made = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    text = yaml.safe_dump(made, default_flow_style=True, width=10**6).strip()
    parsed = parse(http(filters=f"{text[:-1]}, {ROUTER}]"))
    assert parsed.warnings == ()
    found = parsed.bootstrap.listeners[0].filter_chains[0].filters[0]
    assert isinstance(found, HttpConnectionManagerSpec)
    for entry, config in zip(made, found.http_filters, strict=False):
        spec = config.spec
        assert isinstance(spec, RbacSpec)
        for name, rules in (("rules", spec.rules), ("shadowRules", spec.shadow_rules)):
            source = entry["typedConfig"].get(name)
            assert (rules is None) is (source is None)
            if rules is not None:
                assert [each.name for each in rules.policies] == sorted(source.get("policies", ()))


def test_there_are_outputs_of_istiod() -> None:
    assert len(OUTPUTS) >= 15
