"""When certificates expire, as gauges: `ssl.certificate.<name>.expiration_unix_time_seconds`, as Envoy names them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from stats.families import CertificateStats
from stats.store import sanitize

if TYPE_CHECKING:
    from config.model.tls import CommonTlsContext
    from sidecar.transport.tls_material import Material
    from stats.metrics import Gauge
    from stats.store import Scope

#: Envoy's names for what is not a named secret: a hash of the (empty) name.
_UNNAMED_CERTIFICATE: Final = "unnamed_cert_e3b0c442"
_UNNAMED_CA: Final = "unnamed_ca_cert_e3b0c442"


class CertificateGauges:
    """The gauges of one TLS context in one scope (`listener.<address>.ssl`, `cluster.<name>.ssl`)."""

    def __init__(self, scope: Scope, common: CommonTlsContext) -> None:
        self._scope = scope
        self._certificate = sanitize(common.certificate_secret) or _UNNAMED_CERTIFICATE
        self._ca = sanitize(common.validation_secret) or _UNNAMED_CA

    def show(self, material: Material) -> None:
        """What is in force now."""
        if material.identities:
            self._gauge(self._certificate).set(int(material.identities[0].leaf.not_after))
        if material.trust is not None:
            self._gauge(self._ca).set(int(material.trust.first.not_after))

    def _gauge(self, name: str) -> Gauge:
        return CertificateStats(self._scope.scope(f"certificate.{name}")).expiration_unix_time_seconds
