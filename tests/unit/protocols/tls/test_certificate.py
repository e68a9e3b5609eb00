"""Reading certificates: names intact, text forms as OpenSSL and Envoy print them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, ObjectIdentifier
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.tls.certificate import CertificateError, PeerCertificate, parse_certificate
from tests.support.certificates import Authority, Leaf, spiffe

AUTHORITY = Authority()


def der_of(leaf: Leaf) -> bytes:
    return leaf.certificate.public_bytes(Encoding.DER)


def parsed(leaf: Leaf) -> PeerCertificate:
    return parse_certificate(der_of(leaf))


def test_names_dates_and_digests() -> None:
    leaf = AUTHORITY.issue([spiffe("a")], dns=["a.example", "*.b.example"], ips=["192.0.2.1", "2001:db8::1"])
    read = parsed(leaf)
    assert read.uri_sans == ("spiffe://cluster.local/ns/default/sa/a",)
    assert read.dns_sans == ("a.example", "*.b.example")
    assert read.ip_sans == ("192.0.2.1", "2001:db8::1")
    assert read.not_before == leaf.certificate.not_valid_before_utc.timestamp()
    assert read.not_after == leaf.certificate.not_valid_after_utc.timestamp()
    assert int(read.serial, 16) == leaf.certificate.serial_number
    assert len(read.serial) % 2 == 0
    assert len(read.sha256) == 64
    assert (read.is_ca, read.edwards_key) == (False, False)
    assert read.issuer == "CN=mesh root,O=cluster.local"


def test_no_names_at_all() -> None:
    read = parsed(AUTHORITY.issue(common_name="x"))
    assert (read.uri_sans, read.dns_sans, read.email_sans, read.ip_sans) == ((), (), (), ())
    assert parse_certificate(AUTHORITY.certificate.public_bytes(Encoding.DER)).is_ca


@pytest.mark.parametrize(
    "name", ["spiffe://td/a\0b", "spiffe://td/a\r\nb", 'spiffe://td/a";URI=x', "x" * 3000]
)
def test_odd_names_stay_as_they_are(name: str) -> None:
    assert parsed(AUTHORITY.issue([name, "second"])).uri_sans == (name, "second")


def test_the_same_bytes_give_the_same_object() -> None:
    der = der_of(AUTHORITY.issue(["u"]))
    assert parse_certificate(der) is parse_certificate(bytes(bytearray(der)))


def test_pem_is_url_encoded_as_in_xfcc() -> None:
    leaf = AUTHORITY.issue(["u"])
    text = parsed(leaf).pem_url_encoded()
    assert set("\n +/=") & set(text) == set()
    assert unquote(text).encode() == leaf.certificate.public_bytes(Encoding.PEM)


SUBJECTS: dict[str, list[list[tuple[ObjectIdentifier, str]]]] = {
    "plain": [[(NameOID.ORGANIZATION_NAME, "y")], [(NameOID.COMMON_NAME, "x")]],
    "specials": [[(NameOID.COMMON_NAME, ' #a,b+c"d\\e<f>g;h= ')]],
    "hash first": [[(NameOID.COMMON_NAME, "#x")]],
    "controls": [[(NameOID.COMMON_NAME, "a\r\nb\x7f")]],
    "unicode": [[(NameOID.COMMON_NAME, "Lučić")]],
    "many": [
        [(NameOID.COUNTRY_NAME, "US")],
        [(NameOID.STATE_OR_PROVINCE_NAME, "CA")],
        [(NameOID.LOCALITY_NAME, "SF")],
        [(NameOID.STREET_ADDRESS, "1 Main")],
        [(NameOID.EMAIL_ADDRESS, "a@b.example")],
        [(NameOID.SERIAL_NUMBER, "17")],
        [(NameOID.DOMAIN_COMPONENT, "example")],
        [(NameOID.USER_ID, "me")],
        [(NameOID.SURNAME, "s")],
        [(NameOID.GIVEN_NAME, "g")],
        [(NameOID.TITLE, "t")],
    ],
    "unknown type": [[(ObjectIdentifier("1.2.3.4.5"), "v")], [(NameOID.COMMON_NAME, "x")]],
    "two in one": [[(NameOID.COMMON_NAME, "x"), (NameOID.ORGANIZATIONAL_UNIT_NAME, "u")]],
    "none": [],
}


def subject_of(name: str) -> x509.Name:
    return x509.Name(
        [
            x509.RelativeDistinguishedName([x509.NameAttribute(oid, value) for oid, value in rdn])
            for rdn in SUBJECTS[name]
        ]
    )


@pytest.mark.parametrize("name", SUBJECTS)
def test_subjects_are_printed_as_openssl_does(name: str, tmp_path: Path) -> None:
    leaf = AUTHORITY.issue(["u"], subject=subject_of(name))
    file = leaf.write(tmp_path, "leaf").certificate
    command = ["openssl", "x509", "-in", str(file), "-noout", "-subject", "-nameopt", "RFC2253"]
    printed = subprocess.run(command, capture_output=True, check=True, timeout=20).stdout.decode()
    assert parsed(leaf).subject == printed.removeprefix("subject=").removesuffix("\n")


@pytest.mark.parametrize("data", [b"", b"\x30", b"\x30\x03\x02\x01\x01", b"not DER", bytes(200 * 1024)])
def test_what_is_no_certificate(data: bytes) -> None:
    with pytest.raises(CertificateError):
        parse_certificate(data)


def test_a_cut_certificate_is_none() -> None:
    with pytest.raises(CertificateError):
        parse_certificate(der_of(AUTHORITY.issue(["u"]))[:-1])


def test_a_negative_serial_is_read_without_a_warning() -> None:
    der = der_of(AUTHORITY.issue(["u"]))
    serial = bytes.fromhex(parse_certificate(der).serial)
    at = der.index(serial)
    negative = der[:at] + bytes([0x80]) + der[at + 1 :]
    assert parse_certificate(negative).sha256 != parse_certificate(der).sha256


_DER = der_of(AUTHORITY.issue([spiffe("fuzz")], dns=["fuzz.example"]))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(_DER) - 1), st.integers(0, 255))
def test_damage_raises_nothing_else(at: int, byte: int) -> None:
    damaged = bytearray(_DER)
    damaged[at] = byte
    try:
        read = parse_certificate(bytes(damaged))
    except CertificateError:
        return
    assert len(read.sha256) == 64
