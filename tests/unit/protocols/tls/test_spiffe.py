"""The grammar of SPIFFE ids and the identity of peers."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from protocols.tls.certificate import PeerCertificate, parse_certificate
from protocols.tls.spiffe import SpiffeId, identity_problem, parse_spiffe_id, peer_identity
from tests.support.certificates import Authority, spiffe
from tests.support.odd_certificates import odd_client_certificates

AUTHORITY = Authority()


def certificate(uris: list[str], dns: list[str] | None = None) -> PeerCertificate:
    leaf = AUTHORITY.issue(uris, dns=dns or [], common_name="x")
    return parse_certificate(leaf.certificate.public_bytes(Encoding.DER))


@pytest.mark.parametrize(
    ("text", "domain", "path"),
    [
        ("spiffe://cluster.local/ns/default/sa/a", "cluster.local", "/ns/default/sa/a"),
        ("spiffe://td/x", "td", "/x"),
        ("spiffe://a_b-c.1/A.b_c-D", "a_b-c.1", "/A.b_c-D"),
        ("spiffe://td/..a/a..", "td", "/..a/a.."),
        ("spiffe://td/" + "a" * (2048 - 12), "td", "/" + "a" * (2048 - 12)),
    ],
)
def test_good_ids(text: str, domain: str, path: str) -> None:
    found = parse_spiffe_id(text)
    assert found == SpiffeId(domain, path)
    assert str(found) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spiffe://",
        "spiffe://td",
        "spiffe://td/",
        "spiffe:///a",
        "spiffe://td/a/",
        "spiffe://td//a",
        "spiffe://td/./a",
        "spiffe://td/../a",
        "spiffe://td/a/..",
        "SPIFFE://td/a",
        "spiffe://TD/a",
        "spiffe://td:80/a",
        "spiffe://u@td/a",
        "spiffe://td/a?q",
        "spiffe://td/a#f",
        "spiffe://td/a%20",
        "spiffe://td/a\0",
        "spiffe://td/a\n",
        "spiffe://td/a\r\nx: y",
        'spiffe://td/a";URI=x',
        "spiffe://td/é",
        " spiffe://td/a",
        "https://td/a",
        "spiffe://" + "d" * 256 + "/a",
        "spiffe://td/" + "a" * (2049 - 12),
    ],
)
def test_bad_ids(text: str) -> None:
    assert parse_spiffe_id(text) is None


def test_trust_domains_are_equal_or_not() -> None:
    found = parse_spiffe_id("spiffe://cluster.local.evil/ns/a/sa/b")
    assert found is not None
    assert not found.in_trust_domain("cluster.local")
    assert found.in_trust_domain("cluster.local.evil")


def test_kubernetes_parts() -> None:
    found = parse_spiffe_id(spiffe("reviews", "shop"))
    assert found is not None
    assert (found.namespace, found.service_account) == ("shop", "reviews")
    other = SpiffeId("td", "/a/b")
    assert (other.namespace, other.service_account) == ("", "")


def test_identity_is_the_one_uri() -> None:
    assert str(peer_identity(certificate([spiffe("a")], ["x.example"]))) == spiffe("a")
    assert peer_identity(certificate([])) is None
    assert peer_identity(certificate([spiffe("a"), spiffe("b")])) is None
    assert peer_identity(certificate(["https://a.example/"])) is None


@pytest.mark.parametrize(
    ("uris", "dns", "uri_expected", "problem"),
    [
        ([spiffe("a")], [], True, None),
        ([], ["a.example", "*.example"], False, None),
        ([], ["a.example"], True, None),
        (["https://a.example/x"], [], True, None),
        (["https://a.example/", "https://b.example/"], [], False, None),
        (["https://a.example/", "https://b.example/"], [], True, "more than one URI SAN"),
        ([spiffe("a"), "https://b.example/"], [], False, "more than one URI SAN"),
        (["https://b.example/", "SPIFFE://td/a"], [], False, "more than one URI SAN"),
        (["SPIFFE://td/a"], [], False, "malformed SPIFFE ID"),
        (["spiffe://td/a\0"], [], False, "malformed SPIFFE ID"),
        (['https://a.example/";URI=spiffe://td/a'], [], False, "malformed URI SAN"),
        (["https://a.example/\r\n"], [], False, "malformed URI SAN"),
        ([], ['a.example";URI=spiffe://td/a'], False, "malformed DNS SAN"),
        ([], ["a.example,b"], False, "malformed DNS SAN"),
        ([], ["a.example\0.evil"], False, "malformed DNS SAN"),
    ],
)
def test_certificates_that_are_refused(
    uris: list[str], dns: list[str], uri_expected: bool, problem: str | None
) -> None:
    assert identity_problem(certificate(uris, dns), uri_expected=uri_expected) == problem


def test_odd_certificates_never_give_an_identity_they_should_not() -> None:
    for name, odd in odd_client_certificates(AUTHORITY).items():
        if odd.leaf is None or odd.accept or odd.envoy_accepts is not True:
            continue
        read = parse_certificate(odd.leaf.certificate.public_bytes(Encoding.DER))
        assert peer_identity(read) is None, name
        assert identity_problem(read, uri_expected=True) is not None, name
