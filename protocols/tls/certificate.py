"""What a certificate says: names, digest, validity, and the forms that logs and headers want."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

#: Certificates remembered by their DER bytes: a mesh peer shows the same one on every connection.
_CACHE_SIZE: Final = 1024

#: No certificate of a handshake is longer (OpenSSL bounds the whole chain at 100 KiB).
_MAX_DER_BYTES: Final = 128 * 1024


class CertificateError(ValueError):
    """The bytes are not an X.509 certificate that can be read in full."""


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """One certificate, read.

    SANs are given exactly as they stand in the certificate, control characters and NUL included: whoever trusts or prints a
    name has to judge it first. `subject` and `issuer` are RFC 2253 text as in `x-forwarded-client-cert`, last RDN
    first. `sha256` and `serial` are lower-case hex. Times are POSIX seconds.
    """

    der: bytes
    uri_sans: tuple[str, ...]
    dns_sans: tuple[str, ...]
    email_sans: tuple[str, ...]
    ip_sans: tuple[str, ...]
    subject: str
    issuer: str
    sha256: str
    spki_sha256: str  # base64, the form of Envoy's `verify_certificate_spki`
    serial: str
    not_before: float
    not_after: float
    is_ca: bool
    edwards_key: bool  # ed25519 or ed448, which no Envoy accepts

    def pem_url_encoded(self) -> str:
        """The certificate as the `Cert` field of `x-forwarded-client-cert` carries it."""
        return _pem_url_encoded(self.der)

    def __repr__(self) -> str:
        return f"PeerCertificate(subject={self.subject!r}, uri_sans={self.uri_sans!r}, sha256={self.sha256[:16]}...)"


@lru_cache(maxsize=_CACHE_SIZE)
def parse_certificate(der: bytes) -> PeerCertificate:
    """Read a DER certificate; the same bytes give the same object while they are remembered.

    Raises CertificateError when any part that is used cannot be read: a certificate that is only half understood is worse
    than none.
    """
    if len(der) > _MAX_DER_BYTES:
        raise CertificateError("certificate is too long")
    # the library takes 25 ms and 6 MiB, and proxies without TLS never read a certificate
    from protocols.tls.x509 import read

    return read(der)


def load_reader() -> None:
    """For whoever will call `parse_certificate` while traffic must not wait for the library."""
    from protocols.tls import x509  # noqa: F401  # see above


@lru_cache(maxsize=64)
def _pem_url_encoded(der: bytes) -> str:
    text = base64.b64encode(der).decode("ascii")
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    pem = f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"
    for plain, escaped in (("\n", "%0A"), (" ", "%20"), ("+", "%2B"), ("/", "%2F"), ("=", "%3D")):
        pem = pem.replace(plain, escaped)
    return pem
