"""Certificates as a session knows them, without any that was ever issued."""

from __future__ import annotations

import dataclasses
from typing import Any

from protocols.tls.certificate import PeerCertificate

_PLAIN = PeerCertificate(
    der=b"der",
    uri_sans=("spiffe://cluster.local/ns/a/sa/b",),
    dns_sans=("d1.example", "d2.example"),
    email_sans=(),
    ip_sans=(),
    subject="CN=client,O=Org",
    issuer="CN=inter",
    sha256="ae6e18ff",
    spki_sha256="",
    serial="093a1c",
    not_before=1767225600.0,
    not_after=1811808000.0,
    is_ca=False,
    edwards_key=False,
)


def peer_certificate(**changes: Any) -> PeerCertificate:
    """One of a client in the mesh; `changes` are fields of PeerCertificate."""
    return dataclasses.replace(_PLAIN, **changes)
