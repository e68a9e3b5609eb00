"""The engine of role-based access control."""

from __future__ import annotations

import pytest

from config.expression import parse_expression
from config.model.core import CidrRange, PipeAddress, SocketAddress
from config.model.matching import HeaderMatcher, PortRange, StringMatcher, StringMatchKind
from config.model.metadata_matching import BoolValue, MetadataMatcher
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
from sidecar.policy.matching import MatcherError
from sidecar.policy.rbac import RbacEngine, Verdict
from sidecar.stream_info import StreamInfo
from tests.unit.sidecar.expressions.streams import bare_stream, http_stream

ANY = OrRules((AnyRule(),))
NOBODY = OrRules((NotRule(AnyRule()),))


def exact(text: str) -> StringMatcher:
    return StringMatcher(StringMatchKind.EXACT, text)


def engine(action: RbacAction, *policies: RbacPolicy) -> RbacEngine:
    return RbacEngine(RbacRules(action, policies))


def matches(rule: Rule, info: StreamInfo | None = None) -> bool:
    policy = RbacPolicy("p", OrRules((rule,)), ANY)
    return engine(RbacAction.ALLOW, policy).judge(info or http_stream()).matched


def cidr(text: str) -> CidrRange:
    prefix, _, length = text.partition("/")
    return CidrRange(prefix, int(length))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (AnyRule(), True),
        (NotRule(AnyRule()), False),
        (AndRules((AnyRule(), AnyRule())), True),
        (AndRules((AnyRule(), NotRule(AnyRule()))), False),
        (AndRules(()), True),
        (OrRules((NotRule(AnyRule()), AnyRule())), True),
        (OrRules(()), False),
        (HeaderRule(HeaderMatcher("user-agent", exact("curl"))), True),
        (HeaderRule(HeaderMatcher(":method", exact("PUT"))), False),
        (UrlPathRule(exact("/a/b")), True),
        (UrlPathRule(exact("/a/b?x=1#end")), False),
        (DestinationPortRule(PortRange(8080, 8081)), True),
        (DestinationPortRule(PortRange(8081, 9000)), False),
        (ServerNameRule(exact("server.example")), True),
        (ServerNameRule(exact("")), False),
        (IpRule(IpOf.DESTINATION, cidr("10.0.0.2/32")), True),
        (IpRule(IpOf.DESTINATION, cidr("10.0.0.1/32")), False),
        (IpRule(IpOf.DESTINATION, cidr("::/0")), False),
        (IpRule(IpOf.CONNECTION, cidr("10.0.0.0/8")), True),
        (AuthenticatedRule(None), True),
        (AuthenticatedRule(exact("spiffe://td/ns/a/sa/b")), True),
        (AuthenticatedRule(exact("spiffe://other")), True),
        (AuthenticatedRule(exact("client.example")), True),
        (AuthenticatedRule(exact("CN=client")), True),
        (AuthenticatedRule(exact("spiffe://td/ns/a/sa/server")), False),
        (FilterStateRule("io.istio.peer_principal", exact("")), False),
        (MetadataRule(MetadataMatcher("ns", ("a",), BoolValue(True))), False),
    ],
)
def test_rules(rule: Rule, expected: bool) -> None:
    assert matches(rule) is expected


def test_addresses_of_the_client() -> None:
    info = http_stream()
    info.connection.direct_remote_address = SocketAddress("10.0.1.1", 1)
    info.connection.remote_address = SocketAddress("10.0.2.1", 1)
    rules = {
        ip_of: IpRule(ip_of, cidr(f"10.0.{net}.0/24"))
        for net, ip_of in ((1, IpOf.DIRECT_REMOTE), (2, IpOf.CONNECTION), (2, IpOf.REMOTE))
    }
    assert all(matches(rule, info) for rule in rules.values())
    info.remote_address = SocketAddress("10.0.3.1", 1)
    assert not matches(rules[IpOf.REMOTE], info)
    assert matches(rules[IpOf.CONNECTION], info)
    assert matches(IpRule(IpOf.REMOTE, cidr("10.0.3.1/32")), info)


def test_what_is_no_ip_address_is_in_no_range() -> None:
    info = bare_stream()
    info.connection.local_address = PipeAddress("/run/x")
    assert not matches(IpRule(IpOf.DESTINATION, cidr("0.0.0.0/0")), info)
    assert not matches(DestinationPortRule(PortRange(0, 65536)), info)
    info.connection.local_address = SocketAddress("name.example", 1)
    assert not matches(IpRule(IpOf.DESTINATION, cidr("0.0.0.0/0")), info)


def test_plaintext_is_nobody() -> None:
    for name in (None, exact(""), StringMatcher(StringMatchKind.PREFIX, "")):
        assert not matches(AuthenticatedRule(name), bare_stream())


def test_tls_without_a_certificate_has_an_empty_name() -> None:
    info = http_stream()
    assert info.connection.tls is not None
    info.connection.tls.peer = None
    assert matches(AuthenticatedRule(None), info)
    assert matches(AuthenticatedRule(exact("")), info)
    assert not matches(AuthenticatedRule(StringMatcher(StringMatchKind.PREFIX, "s")), info)


def test_identity_of_a_tunnel() -> None:
    info = bare_stream()
    info.connection.peer_principal = "spiffe://td/ns/a/sa/b"
    info.connection.local_principal = "spiffe://td/ns/a/sa/c"
    assert matches(FilterStateRule("io.istio.peer_principal", exact("spiffe://td/ns/a/sa/b")), info)
    assert not matches(FilterStateRule("io.istio.local_principal", exact("spiffe://td/ns/a/sa/b")), info)


def test_a_connection_without_a_request_has_neither_headers_nor_path() -> None:
    info = bare_stream()
    assert not matches(HeaderRule(HeaderMatcher("a", present=True)), info)
    assert matches(HeaderRule(HeaderMatcher("a", present=False)), info)
    assert not matches(UrlPathRule(StringMatcher(StringMatchKind.PREFIX, "")), info)
    info.request_headers = Headers.request(b"CONNECT", b"", b"a.example:443")
    assert not matches(UrlPathRule(StringMatcher(StringMatchKind.PREFIX, "")), info)


MATCHING = RbacPolicy("yes", ANY, ANY)
OTHER = RbacPolicy("no", ANY, NOBODY)


@pytest.mark.parametrize(
    ("action", "policies", "verdict"),
    [
        (RbacAction.ALLOW, (OTHER, MATCHING), Verdict(True, True, "yes")),
        (RbacAction.ALLOW, (OTHER,), Verdict(False, False, "")),
        (RbacAction.ALLOW, (), Verdict(False, False, "")),
        (RbacAction.DENY, (OTHER, MATCHING), Verdict(False, True, "yes")),
        (RbacAction.DENY, (OTHER,), Verdict(True, False, "")),
        (RbacAction.DENY, (), Verdict(True, False, "")),
        (RbacAction.LOG, (MATCHING,), Verdict(True, True, "yes")),
        (RbacAction.LOG, (OTHER,), Verdict(True, False, "")),
    ],
)
def test_verdicts(action: RbacAction, policies: tuple[RbacPolicy, ...], verdict: Verdict) -> None:
    assert engine(action, *policies).judge(http_stream()) == verdict


def test_the_first_policy_that_matches_decides() -> None:
    second = RbacPolicy("z", ANY, ANY)
    assert engine(RbacAction.DENY, MATCHING, second).judge(http_stream()).policy == "yes"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("request.headers['user-agent'] == 'curl'", True),
        ("request.path.matches('^/a/.*')", True),
        ("source.port == 1", False),
        ("request.headers['none'] == 'curl'", False),  # an error is no match
        ("'true'", False),
        ("xds.node.id == ''", False),  # conditions are given no node
        ("response.code == 200", True),
    ],
)
def test_conditions(condition: str, expected: bool) -> None:
    policy = RbacPolicy("p", ANY, ANY, parse_expression(condition))
    assert engine(RbacAction.ALLOW, policy).judge(http_stream()).matched is expected


@pytest.mark.parametrize("permissions", [ANY, NOBODY])
@pytest.mark.parametrize("principals", [ANY, NOBODY])
@pytest.mark.parametrize("condition", ["true", "false"])
def test_a_policy_matches_when_all_three_do(
    permissions: OrRules, principals: OrRules, condition: str
) -> None:
    policy = RbacPolicy("p", permissions, principals, parse_expression(condition))
    expected = permissions is ANY and principals is ANY and condition == "true"
    assert engine(RbacAction.ALLOW, policy).judge(http_stream()).matched is expected


def test_bad_regex() -> None:
    with pytest.raises(MatcherError):
        matches(UrlPathRule(StringMatcher(StringMatchKind.REGEX, "(")))
