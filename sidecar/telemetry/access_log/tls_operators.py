"""Operators of what a handshake left behind, on either side."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from protocols.tls.certificate import PeerCertificate
from sidecar.stream_info import StreamInfo, TlsInfo
from sidecar.telemetry.access_log.operator import Builder, text
from sidecar.telemetry.access_log.timestamps import time_operator

_TlsOf: TypeAlias = Callable[[StreamInfo], TlsInfo | None]
_FromTls: TypeAlias = Callable[[TlsInfo], str]


def _downstream_tls(info: StreamInfo) -> TlsInfo | None:
    return info.connection.tls


def _upstream_tls(info: StreamInfo) -> TlsInfo | None:
    return info.upstream.tls if info.upstream is not None else None


def _certificate_texts() -> dict[str, _FromTls]:
    """Facts of a handshake by the end of the operator's name."""
    texts: dict[str, _FromTls] = {
        "TLS_VERSION": lambda tls: tls.version,
        "TLS_CIPHER": lambda tls: tls.cipher,
        "PEER_SUBJECT": lambda tls: tls.peer.subject if tls.peer else "",
        "PEER_ISSUER": lambda tls: tls.peer.issuer if tls.peer else "",
        "PEER_SERIAL": lambda tls: tls.peer.serial if tls.peer else "",
        "PEER_FINGERPRINT_1": lambda tls: hashlib.sha1(tls.peer.der).hexdigest() if tls.peer else "",
        "PEER_FINGERPRINT_256": lambda tls: tls.peer.sha256 if tls.peer else "",
        "PEER_CERT": lambda tls: tls.peer.pem_url_encoded() if tls.peer else "",
        "PEER_URI_SAN": lambda tls: ",".join(tls.peer.uri_sans) if tls.peer else "",
        "PEER_DNS_SAN": lambda tls: ",".join(tls.peer.dns_sans) if tls.peer else "",
        "PEER_IP_SAN": lambda tls: ",".join(tls.peer.ip_sans) if tls.peer else "",
        "PEER_EMAIL_SAN": lambda tls: ",".join(tls.peer.email_sans) if tls.peer else "",
        "LOCAL_SUBJECT": lambda tls: tls.local.subject if tls.local else "",
        "LOCAL_URI_SAN": lambda tls: ",".join(tls.local.uri_sans) if tls.local else "",
        "LOCAL_DNS_SAN": lambda tls: ",".join(tls.local.dns_sans) if tls.local else "",
        "LOCAL_IP_SAN": lambda tls: ",".join(tls.local.ip_sans) if tls.local else "",
        "LOCAL_EMAIL_SAN": lambda tls: ",".join(tls.local.email_sans) if tls.local else "",
    }
    return texts


def _tls_operators(side: str, tls_of: _TlsOf) -> dict[str, Builder]:
    def of_tls(get: _FromTls) -> Builder:
        return text(lambda info: get(tls) if (tls := tls_of(info)) is not None else "", settled=True)

    def validity(get: Callable[[PeerCertificate], float]) -> Builder:
        return time_operator(
            lambda info: get(tls.peer) if (tls := tls_of(info)) is not None and tls.peer is not None else 0.0
        )

    return {
        **{f"{side}_{name}": of_tls(get) for name, get in _certificate_texts().items()},
        # Envoy has no operator for the negotiated protocol; it is the first question about a mesh connection
        f"{side}_ALPN": of_tls(lambda tls: tls.alpn),
        f"{side}_PEER_CERT_V_START": validity(lambda peer: peer.not_before),
        f"{side}_PEER_CERT_V_END": validity(lambda peer: peer.not_after),
    }


TLS_OPERATORS: Final[Mapping[str, Builder]] = {
    **_tls_operators("DOWNSTREAM", _downstream_tls),
    **_tls_operators("UPSTREAM", _upstream_tls),
}
