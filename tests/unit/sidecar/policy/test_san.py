"""SAN matchers on minted certificates."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from config.model.matching import SanMatcher, SanType, StringMatcher, StringMatchKind
from protocols.tls.certificate import PeerCertificate, parse_certificate
from sidecar.policy.matching import MatcherError
from sidecar.policy.san import compile_san_matchers, dns_name_covers
from tests.support.certificates import Authority, spiffe

AUTHORITY = Authority()
K, T = StringMatchKind, SanType


def certificate(uris: list[str], dns: list[str], ips: list[str]) -> PeerCertificate:
    leaf = AUTHORITY.issue(uris, dns=dns, ips=ips, common_name="x")
    return parse_certificate(leaf.certificate.public_bytes(Encoding.DER))


PEER = certificate([spiffe("a")], ["a.example", "*.wild.example"], ["192.0.2.1", "2001:db8::1"])


@pytest.mark.parametrize(
    ("san_type", "kind", "pattern", "accepted"),
    [
        (T.URI, K.EXACT, spiffe("a"), True),
        (T.URI, K.EXACT, spiffe("A"), False),
        (T.URI, K.EXACT, spiffe("ab"), False),
        (T.URI, K.PREFIX, "spiffe://cluster.local/", True),
        (T.URI, K.PREFIX, "spiffe://cluster.loca/", False),
        (T.URI, K.SUFFIX, "/sa/a", True),
        (T.URI, K.CONTAINS, "/ns/default/", True),
        (T.URI, K.REGEX, "spiffe://[^/]+/ns/default/sa/.+", True),
        (T.URI, K.REGEX, "spiffe://cluster.local", False),
        (T.URI, K.EXACT, "a.example", False),
        (T.DNS, K.EXACT, "a.example", True),
        (T.DNS, K.EXACT, "A.Example", True),
        (T.DNS, K.EXACT, "b.wild.example", True),
        (T.DNS, K.EXACT, "b.c.wild.example", False),
        (T.DNS, K.EXACT, "wild.example", False),
        (T.DNS, K.EXACT, spiffe("a"), False),
        (T.IP_ADDRESS, K.EXACT, "192.0.2.1", True),
        (T.IP_ADDRESS, K.EXACT, "2001:DB8:0::1", True),
        (T.IP_ADDRESS, K.EXACT, "192.0.2.2", False),
        (T.EMAIL, K.PREFIX, "", False),
    ],
)
def test_one_matcher(san_type: SanType, kind: StringMatchKind, pattern: str, accepted: bool) -> None:
    assert compile_san_matchers((SanMatcher(san_type, StringMatcher(kind, pattern)),))(PEER) is accepted


def test_any_of_many() -> None:
    wrong = SanMatcher(T.URI, StringMatcher(K.EXACT, "x"))
    right = SanMatcher(T.DNS, StringMatcher(K.EXACT, "a.example"))
    assert compile_san_matchers((wrong, right))(PEER)
    assert not compile_san_matchers((wrong, wrong))(PEER)
    assert compile_san_matchers(())(certificate([], [], []))


def test_bad_regex() -> None:
    with pytest.raises(MatcherError):
        compile_san_matchers((SanMatcher(T.URI, StringMatcher(K.REGEX, "(")),))


@pytest.mark.parametrize(
    ("name", "host", "covers"),
    [
        ("*.a.example", "b.a.example", True),
        ("*.a.example", "*.a.example", True),
        ("*.a.example", ".a.example", False),
        ("*", "example", False),
        ("*.", "a.", False),
        ("a*.example", "ab.example", False),
        ("*.*.example", "a.b.example", False),
        ("b.*.example", "b.a.example", False),
        ("", "", False),
        ("a.example\0.evil", "a.example", False),
    ],
)
def test_wildcards(name: str, host: str, covers: bool) -> None:
    assert dns_name_covers(name, host) is covers
