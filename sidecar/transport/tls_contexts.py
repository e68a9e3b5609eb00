"""Secrets become SSL contexts: one per configuration and certificate version, never one per connection.

`TlsContexts` owns all of them. A `ServerTlsContext` or `ClientTlsContext` hands out sessions; when a certificate file has
changed on disk the next session comes from a new context, and live connections keep the one they have. What cannot be
read, or cannot be honoured, is an error at the start and never a weaker check.
"""

from __future__ import annotations

import abc
import logging
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import msgspec

from config.model.matching import SanMatcher, SanType, StringMatcher, StringMatchKind
from config.model.tls import (
    CertificateValidation,
    CommonTlsContext,
    DownstreamTlsContext,
    TrustChainVerification,
    UpstreamTlsContext,
)
from protocols.tls.certificate import CertificateError, PeerCertificate, load_reader, parse_certificate
from protocols.tls.session import TlsError, TlsErrorKind, TlsSession, no_certificate, peer_refused
from protocols.tls.spiffe import identity_problem
from sidecar.stream_info import TlsInfo
from sidecar.transport.certificate_stats import CertificateGauges
from sidecar.transport.tls_build import build_context
from sidecar.transport.tls_material import (
    FileSignature,
    Material,
    Secrets,
    TlsConfigError,
    file_signature,
    load_material,
    resolve_certificates,
    resolve_validation,
    watched_files,
)
from stats.store import Scope

__all__ = [
    "CertificateDetails",
    "ClientTlsContext",
    "ContextCertificates",
    "ServerTlsContext",
    "TlsConfigError",
    "TlsContexts",
]

_LOG: Final = logging.getLogger(__name__)

#: From SAN matchers to one predicate: `sidecar.policy.san.compile_san_matchers`, which lives a floor above.
SanCompiler: TypeAlias = Callable[[tuple[SanMatcher, ...]], Callable[[PeerCertificate], bool]]

#: A changed file is noticed this late at most.
_STAT_INTERVAL_S: Final = 1.0

#: So many new server sessions between two looks at OpenSSL's session cache, and so many kept at most.
_SESSION_CHECK_INTERVAL: Final = 512

#: Client contexts that differ only in their ALPN offer; a mesh has a handful of offers.
_MAX_ALPN_VARIANTS: Final = 64


class CertificateDetails(msgspec.Struct, frozen=True):
    """One certificate as Envoy's `/certs` shows it. Times are POSIX seconds."""

    path: str
    serial_number: str
    uri_sans: tuple[str, ...]
    dns_sans: tuple[str, ...]
    ip_sans: tuple[str, ...]
    valid_from: float
    expiration_time: float
    days_until_expiration: int

    @classmethod
    def of(cls, certificate: PeerCertificate, path: str, now_s: float) -> CertificateDetails:
        return cls(
            path=path,
            serial_number=certificate.serial,
            uri_sans=certificate.uri_sans,
            dns_sans=certificate.dns_sans,
            ip_sans=certificate.ip_sans,
            valid_from=certificate.not_before,
            expiration_time=certificate.not_after,
            days_until_expiration=max(0, int((certificate.not_after - now_s) // 86400)),
        )


class ContextCertificates(msgspec.Struct, frozen=True):
    """What one context uses: its first CA, and the leaf of each of its own chains."""

    ca: tuple[CertificateDetails, ...]
    chain: tuple[CertificateDetails, ...]


class _TlsContext(abc.ABC):
    """What both roles share: the material in force, its renewal, and the judgement on peers."""

    _material: Material

    def __init__(self, common: CommonTlsContext, secrets: Secrets, compile_sans: SanCompiler) -> None:
        self._common = common
        #: False while a secret must come from a control plane: then there are no sessions, neither weaker ones nor plaintext
        self.ready = not (common.certificate_secret_by_sds or common.validation_secret_by_sds)
        self._material = Material((), None, CertificateValidation())
        self._gauges: list[CertificateGauges] = []
        self._secrets = secrets
        self._compile_sans = compile_sans
        self._files: tuple[str, ...] = ()
        self._signature: FileSignature = ()
        self._refused: FileSignature = ()
        self._next_stat_s = 0.0
        #: times a changed file was taken into use, and times it was refused
        self.reloads = 0
        self.reload_failures = 0
        self._prepare(resolve_validation(common, secrets) if self.ready else CertificateValidation())

    def _prepare(self, validation: CertificateValidation) -> None:
        """Judge and load. Raises TlsConfigError with all problems."""
        load_reader()  # there may be no certificate before the first handshake
        problems = self._spec_problems(validation) if self.ready else []
        try:
            self._accepts_san = self._compile_sans(validation.match_sans)
        except ValueError as error:
            problems.append(f"match_typed_subject_alt_names: {error}")
        self._verifies = _verifies_chain(validation)
        self._match_sans = bool(validation.match_sans)
        self._uri_matters = any(matcher.san_type is SanType.URI for matcher in validation.match_sans)
        self._pins = frozenset(validation.verify_certificate_spki)
        self._hashes = frozenset(text.replace(":", "").lower() for text in validation.verify_certificate_hash)
        if not self.ready:
            return
        self._files = watched_files(self._common, self._secrets)
        try:
            self._load(file_signature(self._files))
        except TlsConfigError as error:
            problems += error.problems
        if problems:
            raise TlsConfigError(problems)

    # building

    def _spec_problems(self, validation: CertificateValidation) -> list[str]:
        problems: list[str] = []
        if validation.match_sans and validation.trusted_ca is None:
            problems.append("match_typed_subject_alt_names: insecure without trusted_ca")
        if validation.allow_expired_certificate:
            problems.append("allow_expired_certificate: not supported")
        return problems

    def _load(self, signature: FileSignature) -> None:
        """Read the files and build contexts off to the side, then swap. Raises TlsConfigError.

        `signature` was taken before reading: a file that changes meanwhile is read again.
        """
        self._adopt(load_material(self._common, self._secrets, now_s=time.time()))
        self._signature = signature
        for gauges in self._gauges:
            gauges.show(self._material)

    def publish(self, ssl_scope: Scope) -> None:
        """Show in `ssl_scope` when the certificates in force expire, now and after every renewal."""
        gauges = CertificateGauges(ssl_scope, self._common)
        gauges.show(self._material)
        self._gauges.append(gauges)

    @abc.abstractmethod
    def _adopt(self, material: Material) -> None:
        """Build contexts of this role from the material and put both in force. Raises TlsConfigError."""

    def _renew(self) -> None:
        """Take changed files into use; at most one look a second."""
        if not self._files:
            return
        now = time.monotonic()
        if now < self._next_stat_s:
            return
        self._next_stat_s = now + _STAT_INTERVAL_S
        signature = file_signature(self._files)
        if signature == self._signature:
            return
        try:
            self._load(signature)
        except TlsConfigError as error:
            if signature != self._refused:  # tried again each second, but told once
                self._refused = signature
                self.reload_failures += 1
                _LOG.warning(
                    "TLS files have changed but cannot be used, the old ones stay in force: %s", error
                )
        else:
            self.reloads += 1

    # judging

    def _require_ready(self) -> None:
        if not self.ready:
            raise TlsError("Secret is not supplied by SDS", TlsErrorKind.NOT_READY)

    def verify_peer(self, session: TlsSession) -> TlsError | None:
        """Judge the peer after its handshake: None when it is acceptable. Sessions of this context call it themselves."""
        der = session.peer_certificate_der
        if der is None:
            return self._without_certificate()
        if not (self._verifies or self._pins or self._hashes):
            return None
        try:
            certificate = parse_certificate(der)
        except CertificateError as error:
            return peer_refused(str(error), TlsErrorKind.VERIFY_FAILED)
        refused = self._judge(certificate) or self._judge_name(session, certificate)
        if refused is None:
            session.peer_validated = self._verifies or bool(self._pins or self._hashes)
        return refused

    def _without_certificate(self) -> TlsError | None:
        return None

    def _judge(self, certificate: PeerCertificate) -> TlsError | None:
        if self._verifies:
            if certificate.edwards_key:
                return peer_refused("signature algorithm not offered", TlsErrorKind.VERIFY_FAILED)
            problem = identity_problem(certificate, uri_expected=self._uri_matters)
            if problem is not None:
                return peer_refused(problem, TlsErrorKind.SAN_MISMATCH)
            if self._match_sans and not self._accepts_san(certificate):
                return _san_mismatch(certificate)
        if self._pins and certificate.spki_sha256 in self._pins:
            return None
        if self._hashes and certificate.sha256 in self._hashes:
            return None
        if self._pins or self._hashes:
            return peer_refused(
                "certificate hash or SPKI does not match", TlsErrorKind.CERTIFICATE_HASH_MISMATCH
            )
        return None

    def _judge_name(self, session: TlsSession, certificate: PeerCertificate) -> TlsError | None:
        return None

    def tls_info(self, session: TlsSession) -> TlsInfo:
        """What a finished handshake left behind. The peer's certificate is None also when it cannot be read."""
        der = session.peer_certificate_der
        peer: PeerCertificate | None = None
        if der is not None:
            try:
                peer = parse_certificate(der)
            except CertificateError:
                peer = None
        return TlsInfo(
            version=session.version,
            cipher=session.cipher,
            alpn=session.alpn,
            sni=session.sni,
            peer=peer,
            local=self.local_certificate,
            peer_validated=session.peer_validated,
        )

    def finish(self, session: TlsSession) -> TlsInfo | str:
        """For a transport socket: the facts of a session whose handshake is done, or why it was refused."""
        return str(session.failure) if session.failure is not None else self.tls_info(session)

    # showing

    @property
    def local_certificate(self) -> PeerCertificate | None:
        identities = self._material.identities
        return identities[0].leaf if identities else None

    def certificates(self, now_s: float) -> ContextCertificates:
        trust = self._material.trust
        return ContextCertificates(
            ca=(CertificateDetails.of(trust.first, trust.source, now_s),) if trust is not None else (),
            chain=tuple(
                CertificateDetails.of(identity.leaf, identity.source, now_s)
                for identity in self._material.identities
            ),
        )


class ServerTlsContext(_TlsContext):
    """`DownstreamTlsContext`."""

    def __init__(self, spec: DownstreamTlsContext, secrets: Secrets, compile_sans: SanCompiler) -> None:
        self._spec = spec
        super().__init__(spec.common, secrets, compile_sans)

    def _spec_problems(self, validation: CertificateValidation) -> list[str]:
        problems = super()._spec_problems(validation)
        if not resolve_certificates(self._common, self._secrets):
            problems.append("tls_certificates: a server needs at least one")
        if self._spec.require_client_certificate and not _verifies_chain(validation):
            # Python's ssl cannot ask for a certificate without verifying it.
            problems.append("require_client_certificate: needs trusted_ca and VERIFY_TRUST_CHAIN")
        if not _verifies_chain(validation) and (
            validation.verify_certificate_spki or validation.verify_certificate_hash
        ):
            problems.append("verify_certificate_spki, verify_certificate_hash: need trusted_ca on a server")
        return problems

    def _adopt(self, material: Material) -> None:
        context = build_context(material, self._common, self._common.alpn_protocols, server_side=True)
        if self._verifies:
            required = self._spec.require_client_certificate or self._match_sans
            context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        if self._spec.disable_stateless_session_resumption:
            context.options |= ssl.OP_NO_TICKET
        self._context = context
        self._material = material
        self._unchecked_sessions = 0

    def new_session(self, server_name: str = "") -> TlsSession:
        """A session for one accepted connection. `server_name` is the SNI that the ClientHello was seen to carry.

        Raises TlsError when the context is not ready.
        """
        self._require_ready()
        self._renew()
        self._unchecked_sessions += 1
        if self._unchecked_sessions >= _SESSION_CHECK_INTERVAL:
            self._forget_sessions()
        return TlsSession(self._context, server_side=True, server_name=server_name, verify=self.verify_peer)

    def _forget_sessions(self) -> None:
        """OpenSSL keeps up to 20480 sessions of TLS 1.2 clients that take no ticket, and Python cannot tell it not to."""
        self._unchecked_sessions = 0
        if self._context.session_stats()["number"] < _SESSION_CHECK_INTERVAL:
            return
        try:
            self._adopt(self._material)
        except TlsConfigError as error:  # out of descriptors, say
            _LOG.warning("TLS context cannot be renewed: %s", error)

    def verify_peer(self, session: TlsSession) -> TlsError | None:
        if self._spec.require_sni and not session.sni:
            return TlsError("server name is required and missing", TlsErrorKind.SERVER_NAME)
        return super().verify_peer(session)

    def _without_certificate(self) -> TlsError | None:
        if self._spec.require_client_certificate or self._match_sans:
            return (
                no_certificate()
            )  # as Envoy: SAN matchers are a demand, even where the handshake makes none
        return None


class ClientTlsContext(_TlsContext):
    """`UpstreamTlsContext`."""

    def __init__(self, spec: UpstreamTlsContext, secrets: Secrets, compile_sans: SanCompiler) -> None:
        self._spec = spec
        self._by_name: dict[str, Callable[[PeerCertificate], bool]] = {}
        super().__init__(spec.common, secrets, compile_sans)

    def _spec_problems(self, validation: CertificateValidation) -> list[str]:
        problems = super()._spec_problems(validation)
        if self._spec.auto_sni_san_validation and validation.trusted_ca is None:
            problems.append("auto_sni_san_validation: insecure without trusted_ca")
        return problems

    def _adopt(self, material: Material) -> None:
        self._contexts = {self._common.alpn_protocols: self._variant(material, self._common.alpn_protocols)}
        self._material = material

    def _variant(self, material: Material, alpn: tuple[str, ...]) -> ssl.SSLContext:
        context = build_context(material, self._common, alpn, server_side=False)
        if self._verifies:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def new_session(
        self,
        *,
        alpn: tuple[str, ...] | None = None,
        fallback_alpn: tuple[str, ...] = (),
        server_name: str = "",
        hostname: str = "",
    ) -> TlsSession:
        """A session for one upstream connection.

        `alpn` replaces the configured offer (`envoy.network.application_protocols`), `fallback_alpn` is made where there
        is none, `server_name` replaces the configured SNI
        (`envoy.network.upstream_server_name`); `hostname` is the endpoint's, for `auto_host_sni`. Raises TlsError when
        the SNI cannot be sent, or when the context is not ready.
        """
        self._require_ready()
        self._renew()
        offer = (self._common.alpn_protocols or fallback_alpn) if alpn is None else alpn
        context = self._contexts.get(offer)
        if context is None:
            context = self._new_variant(offer)
        name = server_name or (hostname if self._spec.auto_host_sni and hostname else self._spec.sni)
        return TlsSession(context, server_side=False, server_name=name, verify=self.verify_peer)

    def _new_variant(self, offer: tuple[str, ...]) -> ssl.SSLContext:
        try:
            context = self._variant(self._material, offer)
        except TlsConfigError as error:
            _LOG.warning("no TLS context for the ALPN offer %s: %s", offer, error)
            raise TlsError("ALPN offer cannot be made") from error
        if len(self._contexts) >= _MAX_ALPN_VARIANTS:
            del self._contexts[next(iter(self._contexts))]
        self._contexts[offer] = context
        return context

    def _judge_name(self, session: TlsSession, certificate: PeerCertificate) -> TlsError | None:
        if not self._spec.auto_sni_san_validation:
            return None
        name = session.sni
        accepts = self._by_name.get(name)
        if accepts is None:
            matcher = SanMatcher(SanType.DNS, StringMatcher(StringMatchKind.EXACT, name))
            accepts = self._compile_sans((matcher,))
            if len(self._by_name) >= _MAX_ALPN_VARIANTS:
                self._by_name.clear()
            self._by_name[name] = accepts
        return None if accepts(certificate) else _san_mismatch(certificate)


class TlsContexts:
    """All TLS contexts of the process; equal specs share one.

    `secrets` are the static secrets by name. `compile_sans` is `sidecar.policy.san.compile_san_matchers`.
    """

    def __init__(self, secrets: Secrets, compile_sans: SanCompiler) -> None:
        self._secrets = secrets
        self._compile_sans = compile_sans
        self._servers: dict[DownstreamTlsContext, ServerTlsContext] = {}
        self._clients: dict[UpstreamTlsContext, ClientTlsContext] = {}

    def server(self, spec: DownstreamTlsContext) -> ServerTlsContext:
        """Raises TlsConfigError."""
        found = self._servers.get(spec)
        if found is None:
            found = self._servers[spec] = ServerTlsContext(spec, self._secrets, self._compile_sans)
        return found

    def client(self, spec: UpstreamTlsContext) -> ClientTlsContext:
        """Raises TlsConfigError."""
        found = self._clients.get(spec)
        if found is None:
            found = self._clients[spec] = ClientTlsContext(spec, self._secrets, self._compile_sans)
        return found

    def __iter__(self) -> Iterator[ServerTlsContext | ClientTlsContext]:
        yield from self._servers.values()
        yield from self._clients.values()

    def certificates(self, now_s: float) -> tuple[ContextCertificates, ...]:
        """What is in force, for the admin's `/certs`; contexts with the same certificates are shown once."""
        return tuple(dict.fromkeys(context.certificates(now_s) for context in self))


def _verifies_chain(validation: CertificateValidation) -> bool:
    return (
        validation.trusted_ca is not None
        and validation.trust_chain_verification is TrustChainVerification.VERIFY_TRUST_CHAIN
    )


def _san_mismatch(certificate: PeerCertificate) -> TlsError:
    """The names are quoted as Envoy does, but only what is harmless in a log line."""
    names = ", ".join(certificate.uri_sans + certificate.dns_sans + certificate.ip_sans)
    shown = "".join(char if char.isascii() and char.isprintable() else "?" for char in names[:512])
    return peer_refused(f"SAN matcher, certificate SANs are [{shown}]", TlsErrorKind.SAN_MISMATCH)
