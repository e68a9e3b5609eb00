"""`/certs`: the certificates in use, as Envoy shows them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sidecar.main.admin.api import AdminRequest, AdminResponse, Endpoint, json_response

if TYPE_CHECKING:
    from sidecar.transport.tls_contexts import CertificateDetails, TlsContexts


def endpoint(tls: TlsContexts) -> Endpoint:
    def show(request: AdminRequest) -> AdminResponse:
        return json_response(
            {
                "certificates": [
                    {
                        "ca_cert": [_details(each) for each in context.ca],
                        "cert_chain": [_details(each) for each in context.chain],
                    }
                    for context in tls.certificates(time.time())
                ]
            }
        )

    return Endpoint("/certs", "print certs on machine", show)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def _details(certificate: CertificateDetails) -> dict[str, object]:
    names: list[dict[str, str]] = [{"dns": each} for each in certificate.dns_sans]
    names += [{"uri": each} for each in certificate.uri_sans]
    names += [{"ip_address": each} for each in certificate.ip_sans]
    return {
        "path": certificate.path,
        "serial_number": certificate.serial_number,
        "subject_alt_names": names,
        "days_until_expiration": str(certificate.days_until_expiration),
        "valid_from": _time(certificate.valid_from),
        "expiration_time": _time(certificate.expiration_time),
    }
