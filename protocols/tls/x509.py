"""Reads X.509 certificates, by the library that is loaded with this module."""

from __future__ import annotations

import base64
import hashlib
import warnings
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning

from protocols.tls.certificate import CertificateError, PeerCertificate


def read(der: bytes) -> PeerCertificate:
    """What DER bytes say. Raises CertificateError when any part that is used cannot be read."""
    try:
        return _read(der)
    except (
        ValueError,
        TypeError,
        OverflowError,
        UnsupportedAlgorithm,
        x509.InvalidVersion,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ) as error:
        raise CertificateError(f"unreadable certificate: {type(error).__name__}") from error


def _read(der: bytes) -> PeerCertificate:
    with warnings.catch_warnings():  # what a peer sends is judged here; it is no warning for the operator
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        certificate = x509.load_der_x509_certificate(der)
        number = certificate.serial_number
    uri, dns, email, ip = _alternative_names(certificate)
    key = certificate.public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    serial = f"{abs(number):x}"
    return PeerCertificate(
        der=der,
        uri_sans=uri,
        dns_sans=dns,
        email_sans=email,
        ip_sans=ip,
        subject=_rfc2253(certificate.subject),
        issuer=_rfc2253(certificate.issuer),
        sha256=hashlib.sha256(der).hexdigest(),
        spki_sha256=base64.b64encode(hashlib.sha256(spki).digest()).decode("ascii"),
        serial=serial if len(serial) % 2 == 0 else "0" + serial,
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
        is_ca=_is_ca(certificate),
        edwards_key=isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey),
    )


_Names = tuple[str, ...]


def _alternative_names(certificate: x509.Certificate) -> tuple[_Names, _Names, _Names, _Names]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return (), (), (), ()
    return (
        tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
        tuple(names.get_values_for_type(x509.DNSName)),
        tuple(names.get_values_for_type(x509.RFC822Name)),
        tuple(str(address) for address in names.get_values_for_type(x509.IPAddress)),
    )


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


#: Short names of attribute types, as OpenSSL prints them with XN_FLAG_RFC2253.
_SHORT_NAMES: Final = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "street",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.15": "businessCategory",
    "2.5.4.17": "postalCode",
    "2.5.4.42": "GN",
    "2.5.4.43": "initials",
    "2.5.4.44": "generationQualifier",
    "2.5.4.46": "dnQualifier",
    "2.5.4.65": "pseudonym",
    "2.5.4.97": "organizationIdentifier",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
    "1.3.6.1.4.1.311.60.2.1.1": "jurisdictionL",
    "1.3.6.1.4.1.311.60.2.1.2": "jurisdictionST",
    "1.3.6.1.4.1.311.60.2.1.3": "jurisdictionC",
}


def _rfc2253(name: x509.Name) -> str:
    """RFC 2253 text: everything last first, as OpenSSL does it; the parts of a multi-valued RDN joined by `+`."""
    return ",".join("+".join(_attribute(part) for part in reversed(list(rdn))) for rdn in reversed(name.rdns))


def _attribute(part: x509.NameAttribute[str | bytes]) -> str:
    short = _SHORT_NAMES.get(part.oid.dotted_string)
    raw = part.value.encode("utf-8", "surrogatepass") if isinstance(part.value, str) else part.value
    if short is None:
        return f"{part.oid.dotted_string}=#{_der_string(raw)}"
    return f"{short}={_escape(raw)}"


def _der_string(raw: bytes) -> str:
    """A UTF8String in hex, for attribute types without a short name (RFC 2253 section 2.4)."""
    length = len(raw)
    if length < 0x80:
        head = bytes((0x0C, length))
    else:
        size = length.to_bytes((length.bit_length() + 7) // 8, "big")
        head = bytes((0x0C, 0x80 | len(size))) + size
    return (head + raw).hex().upper()


_ESCAPED: Final = frozenset(b',+"\\<>;')


def _escape(raw: bytes) -> str:
    """RFC 2253 section 2.4; bytes outside printable ASCII become `\\XX`."""
    out: list[str] = []
    last = len(raw) - 1
    for at, byte in enumerate(raw):
        if byte in _ESCAPED or (byte == 0x20 and at in (0, last)) or (byte == 0x23 and at == 0):
            out.append("\\" + chr(byte))
        elif 0x20 <= byte < 0x7F:
            out.append(chr(byte))
        else:
            out.append(f"\\{byte:02X}")
    return "".join(out)
