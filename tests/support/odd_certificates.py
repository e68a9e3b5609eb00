"""Client certificates that a strict mesh server has to judge, with the verdict it must reach and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.support.certificates import Authority, Leaf, self_signed, spiffe


@dataclass(frozen=True)
class OddCertificate:
    """`accept` is what this project does. `envoy_accepts` differs where we are stricter on purpose."""

    leaf: Leaf | None
    accept: bool
    why: str
    envoy_accepts: bool | None = None

    @property
    def reference_accepts(self) -> bool:
        return self.accept if self.envoy_accepts is None else self.envoy_accepts


_SPIFFE_SAYS_ONE = "SPIFFE allows exactly one URI name; Envoy's prefix matcher looks for any"
_GRAMMAR = "not a SPIFFE id by its grammar; Envoy's prefix matcher reads only the beginning"


def odd_client_certificates(mesh: Authority) -> Mapping[str, OddCertificate]:
    """Every kind by name, issued by (or pretending to be issued by) `mesh`."""
    good = spiffe("client")
    intermediate = Authority("mesh intermediate", parent=mesh)
    impostor = Authority("mesh root")
    stranger = Authority("another root")
    return {
        "none": OddCertificate(None, False, "no certificate"),
        "good": OddCertificate(mesh.issue([good]), True, "an ordinary leaf"),
        "no extended key usage": OddCertificate(mesh.issue([good], usages=None), True, "no restriction"),
        "client usage only": OddCertificate(
            mesh.issue([good], usages=[ExtendedKeyUsageOID.CLIENT_AUTH]), True, "right usage"
        ),
        "P-384": OddCertificate(mesh.issue([good], key_kind="p384"), True, "another curve"),
        "RSA-2048": OddCertificate(mesh.issue([good], key_kind="rsa2048"), True, "another algorithm"),
        "chain with intermediate": OddCertificate(intermediate.issue([good]), True, "whole chain sent"),
        "intermediate missing": OddCertificate(
            intermediate.issue([good], with_chain=False), False, "issuer not known"
        ),
        "self-signed": OddCertificate(self_signed([good]), False, "issuer not known"),
        "signed by a leaf": OddCertificate(
            mesh.issue_under_leaf(mesh.issue([good]), [spiffe("admin")]), False, "the issuer is no authority"
        ),
        "other authority, same name": OddCertificate(impostor.issue([good]), False, "another key"),
        "other authority": OddCertificate(stranger.issue([good]), False, "issuer not trusted"),
        "expired": OddCertificate(mesh.issue([good], valid_from_days=-3, valid_to_days=-1), False, "expired"),
        "not yet valid": OddCertificate(
            mesh.issue([good], valid_from_days=1, valid_to_days=3), False, "too early"
        ),
        "server usage only": OddCertificate(
            mesh.issue([good], usages=[ExtendedKeyUsageOID.SERVER_AUTH]), False, "wrong usage"
        ),
        "code signing only": OddCertificate(
            mesh.issue([good], usages=[ExtendedKeyUsageOID.CODE_SIGNING]), False, "wrong usage"
        ),
        "leaf is an authority": OddCertificate(
            mesh.issue([good], acts_as_ca=True), False, "an authority, no leaf"
        ),
        "ed25519": OddCertificate(mesh.issue([good], key_kind="ed25519"), False, "algorithm not offered"),
        "other trust domain": OddCertificate(
            mesh.issue([spiffe("client", trust_domain="other.example")]), False, "another trust domain"
        ),
        "trust domain as prefix": OddCertificate(
            mesh.issue([spiffe("client", trust_domain="cluster.local.evil")]), False, "another trust domain"
        ),
        "trust domain in capitals": OddCertificate(
            mesh.issue([spiffe("client", trust_domain="CLUSTER.local")]), False, "not equal"
        ),
        "DNS name only": OddCertificate(mesh.issue(dns=["client.default"]), False, "no identity"),
        "common name only": OddCertificate(mesh.issue(common_name=good), False, "no identity"),
        "two URIs, good first": OddCertificate(
            mesh.issue([good, "spiffe://other.example/ns/x/sa/y"]), False, _SPIFFE_SAYS_ONE, True
        ),
        "two URIs, good last": OddCertificate(
            mesh.issue(["spiffe://other.example/ns/x/sa/y", good]), False, _SPIFFE_SAYS_ONE, True
        ),
        "URI of 3000 characters": OddCertificate(
            mesh.issue([good + "x" * 3000]), False, "a SPIFFE id has at most 2048 bytes", True
        ),
        "URI with quote and field": OddCertificate(
            mesh.issue([f'{good}";URI={spiffe("admin", "kube-system")}']), False, _GRAMMAR, True
        ),
        "URI with NUL": OddCertificate(mesh.issue([good + "\0.evil"]), False, _GRAMMAR, True),
        "URI with CR LF": OddCertificate(mesh.issue([good + "\r\nx: y"]), False, _GRAMMAR, True),
        "URI with dot segments": OddCertificate(
            mesh.issue(["spiffe://cluster.local/ns/default/../kube-system/sa/x"]), False, _GRAMMAR, True
        ),
        "URI with query and fragment": OddCertificate(mesh.issue([good + "?q#f"]), False, _GRAMMAR, True),
        "URI with empty segment": OddCertificate(
            mesh.issue(["spiffe://cluster.local//ns/default/sa/x"]), False, _GRAMMAR, True
        ),
    }
