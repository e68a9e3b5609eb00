"""SPIFFE ids: a strict grammar, the identity of a peer, and the certificates we refuse to read an identity from.

Stricter than Envoy on purpose. Envoy takes any URI SAN, several of them too, and prints them unescaped into
`x-forwarded-client-cert` and logs. Here an identity is exactly one URI SAN of a fixed alphabet, so no name can carry a
second one inside it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from protocols.tls.certificate import PeerCertificate

#: The SPIFFE-ID standard, section 2.3: an id is at most 2048 bytes long.
MAX_SPIFFE_ID_BYTES: Final = 2048

#: Trust domain of section 2.1; the path has one or more segments of section 2.2, none empty (checked for dots apart).
_SPIFFE_ID: Final = re.compile(r"spiffe://([a-z0-9._-]{1,255})((?:/[A-Za-z0-9._-]+)+)\Z", re.ASCII)

#: What RFC 3986 allows in a URI at all. Leaves out white space, controls, quotes, backslash and all that is not ASCII.
_URI_TEXT: Final = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*\Z", re.ASCII)

#: Characters that would let a DNS name break out of the header or log line it is printed in.
_BAD_IN_DNS_NAME: Final = re.compile(r"[^!#-+\-.-:<>-\[\]-~]", re.ASCII)


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """A SPIFFE id that passed the grammar. `path` begins with a slash."""

    trust_domain: str
    path: str

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}{self.path}"

    def in_trust_domain(self, trust_domain: str) -> bool:
        """Equality of the whole name; prefixes and letter case never count."""
        return self.trust_domain == trust_domain

    @property
    def namespace(self) -> str:
        """The Kubernetes namespace of `/ns/<namespace>/sa/<service account>`; empty for any other path."""
        return _kubernetes_parts(self.path)[0]

    @property
    def service_account(self) -> str:
        return _kubernetes_parts(self.path)[1]


def _kubernetes_parts(path: str) -> tuple[str, str]:
    parts = path.split("/")
    if len(parts) == 5 and parts[1] == "ns" and parts[3] == "sa":
        return parts[2], parts[4]
    return "", ""


@lru_cache(maxsize=1024)
def parse_spiffe_id(text: str) -> SpiffeId | None:
    """The id, or None if the text breaks the grammar in any way."""
    if len(text) > MAX_SPIFFE_ID_BYTES:
        return None
    found = _SPIFFE_ID.match(text)
    if found is None:
        return None
    path = found.group(2)
    if any(segment in (".", "..") for segment in path.split("/")):
        return None
    return SpiffeId(found.group(1), path)


def peer_identity(certificate: PeerCertificate) -> SpiffeId | None:
    """Who the certificate says its owner is: its one URI SAN, if that is a SPIFFE id (X.509-SVID section 2)."""
    if len(certificate.uri_sans) != 1:
        return None
    return parse_spiffe_id(certificate.uri_sans[0])


def identity_problem(certificate: PeerCertificate, *, uri_expected: bool = False) -> str | None:
    """Why no name of this certificate may be trusted, or None.

    Judged for peers that are verified against a CA. `uri_expected`: URI SANs decide about this peer. A plain web
    certificate (DNS names only) has no problem.
    """
    uris = certificate.uri_sans
    spiffe = [uri for uri in uris if uri[:9].lower() == "spiffe://"]
    if len(uris) > 1 and (spiffe or uri_expected):
        return "more than one URI SAN"
    if any(parse_spiffe_id(uri) is None for uri in spiffe):
        return "malformed SPIFFE ID"
    if any(_URI_TEXT.match(uri) is None for uri in uris):
        return "malformed URI SAN"
    if any(_BAD_IN_DNS_NAME.search(name) for name in certificate.dns_sans):
        return "malformed DNS SAN"
    return None
