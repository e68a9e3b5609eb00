from __future__ import annotations

import dataclasses
import re

import pytest

from config.model.http import ForwardClientCertDetails, SetCurrentClientCertDetails
from protocols.http.headers import Headers
from sidecar.http.forwarded_client_cert import compile_xfcc, xfcc_element
from sidecar.stream_info import TlsInfo
from tests.support.peer_certificates import peer_certificate

Details = ForwardClientCertDetails
XFCC = b"x-forwarded-client-cert"

CERTIFICATE = peer_certificate(
    subject=r"CN=cl\"i\,e\;n=t\\x,O=\C3\9Cn Org,C=DE", issuer="CN=ca", sha256="ae6e18", serial="01"
)
LOCAL = dataclasses.replace(
    CERTIFICATE, uri_sans=("spiffe://cluster.local/ns/s/sa/srv", "spiffe://two"), subject="CN=srv"
)
BY = "By=spiffe://cluster.local/ns/s/sa/srv;By=spiffe://two"
ISTIO = SetCurrentClientCertDetails(subject=True, uri=True, dns=True)
MTLS = TlsInfo("TLSv1.3", "c", "", peer=CERTIFICATE, local=LOCAL)
ONE_WAY = TlsInfo("TLSv1.3", "c", "", local=LOCAL)
ELEMENT = (
    f'{BY};Hash=ae6e18;Subject="{CERTIFICATE.subject}";URI=spiffe://cluster.local/ns/a/sa/b;'
    "DNS=d1.example;DNS=d2.example"
)


def forwarded(details: Details, tls: TlsInfo | None, *values: bytes) -> list[str]:
    headers = Headers([(XFCC, value) for value in values])
    compile_xfcc(details, ISTIO)(headers, tls)
    return [value.decode() for value in headers.get_all(XFCC)]


@pytest.mark.parametrize(
    ("details", "tls", "expected"),
    [
        (Details.SANITIZE, MTLS, []),
        (Details.SANITIZE, None, []),
        (Details.FORWARD_ONLY, MTLS, ["By=evil;Hash=1"]),
        (Details.FORWARD_ONLY, ONE_WAY, []),
        (Details.FORWARD_ONLY, None, []),
        (Details.APPEND_FORWARD, MTLS, [f"By=evil;Hash=1,{ELEMENT}"]),
        (Details.APPEND_FORWARD, ONE_WAY, []),
        (Details.APPEND_FORWARD, None, []),
        (Details.SANITIZE_SET, MTLS, [ELEMENT]),
        (Details.SANITIZE_SET, ONE_WAY, []),
        (Details.SANITIZE_SET, None, []),
        (Details.ALWAYS_FORWARD_ONLY, MTLS, ["By=evil;Hash=1"]),
        (Details.ALWAYS_FORWARD_ONLY, ONE_WAY, ["By=evil;Hash=1"]),
        (Details.ALWAYS_FORWARD_ONLY, None, ["By=evil;Hash=1"]),
    ],
)
def test_what_is_forwarded_as_envoy_does(details: Details, tls: TlsInfo | None, expected: list[str]) -> None:
    assert forwarded(details, tls, b"By=evil;Hash=1") == expected


def test_without_a_header_from_the_client() -> None:
    assert forwarded(Details.APPEND_FORWARD, MTLS) == [ELEMENT]
    assert forwarded(Details.FORWARD_ONLY, MTLS) == []


def test_repeated_lines_are_joined() -> None:
    assert forwarded(Details.APPEND_FORWARD, MTLS, b"By=1", b"By=2") == [f"By=1,By=2,{ELEMENT}"]


def test_each_connection_has_its_own_element() -> None:
    rule = compile_xfcc(Details.SANITIZE_SET, SetCurrentClientCertDetails(uri=True))
    other = dataclasses.replace(
        MTLS, peer=dataclasses.replace(CERTIFICATE, sha256="ff", uri_sans=("spiffe://o",))
    )
    for tls, expected in ((MTLS, b"ae6e18"), (other, b"ff"), (MTLS, b"ae6e18")):
        headers = Headers()
        rule(headers, tls)
        assert b"Hash=" + expected in (headers.get(XFCC) or b"")


def test_details() -> None:
    def element(**details: bool) -> str:
        return xfcc_element(MTLS, SetCurrentClientCertDetails(**details)).decode()

    assert element() == f"{BY};Hash=ae6e18"
    assert element(subject=True) == f'{BY};Hash=ae6e18;Subject="{CERTIFICATE.subject}"'
    pem = CERTIFICATE.pem_url_encoded()
    assert element(cert=True, chain=True) == f'{BY};Hash=ae6e18;Cert="{pem}";Chain="{pem}"'
    assert xfcc_element(ONE_WAY, ISTIO) == b""


def test_empty_subject_and_uri_are_still_named() -> None:
    peer = dataclasses.replace(CERTIFICATE, subject="", uri_sans=(), dns_sans=())
    tls = dataclasses.replace(MTLS, peer=peer, local=None)
    assert xfcc_element(tls, ISTIO) == b'Hash=ae6e18;Subject="";URI='


#: One key=value of an element; the value is plain, or quoted with backslash escapes.
PAIR = re.compile(r'([A-Za-z]+)=((?:[^,;="\\]|(?<=:)/)*|"(?:[^"\\]|\\.)*")(?:;|$)')


@pytest.mark.parametrize(
    "name",
    [
        'spiffe://td/a";URI=spiffe://td/admin,By="x',
        "spiffe://td/a;URI=spiffe://td/admin",
        "spiffe://td/a,By=spiffe://td/admin",
        "spiffe://td/a\\",
        "spiffe://td/a\r\nx-evil: 1",
        "spiffe://td/a\x00b",
        "spiffe://td/é",
    ],
)
def test_names_cannot_break_out_of_their_field(name: str) -> None:
    peer = dataclasses.replace(CERTIFICATE, uri_sans=(name,), dns_sans=(name,))
    element = xfcc_element(
        dataclasses.replace(MTLS, peer=peer, local=None), SetCurrentClientCertDetails(uri=True, dns=True)
    )
    text = element.decode()
    assert not re.search(r"[\x00-\x1f\x7f]", text)
    assert [key for key, _ in PAIR.findall(text)] == ["Hash", "URI", "DNS"]
    assert "".join(found[0] for found in PAIR.finditer(text)) == text
