"""TLS as an object: ciphertext in, plaintext out, both roles, no socket and no clock.

Wraps `ssl.SSLObject` over two memory BIOs. Whoever drives it gives it what arrived (`receive`), takes what must be sent
(`take_output`, after every other call), and gets `TlsError` and nothing else when something is wrong.

Rules:
- No plaintext leaves a session before the handshake is done *and* `verify` has accepted the peer: with TLS 1.3 a client may
  already have sent requests by then, and they must not be seen.
- Each direction ends on its own (half-close): `close_write` sends close_notify and reading goes on; `peer_closed` says
  that the peer's close_notify has come, and writing may go on.
- After an error the session is dead; `take_output` may still hold the alert that tells the peer.
"""

from __future__ import annotations

import enum
import ssl
from collections.abc import Callable
from typing import Final, TypeAlias

#: Plaintext of one TLS record at most: what one SSL_read returns (RFC 8446 section 5.1).
_RECORD_BYTES: Final = 16384

#: Larger pieces through a memory BIO cost page faults; smaller ones calls.
_CHUNK_BYTES: Final = 65536

#: Bytes that may be queued with `send` before the handshake is done.
_MAX_EARLY_BYTES: Final = 1024 * 1024


class TlsErrorKind(enum.Enum):
    """What went wrong, as coarsely as stats need it."""

    PROTOCOL = enum.auto()
    PEER_ALERT = enum.auto()
    NO_CERTIFICATE = enum.auto()
    VERIFY_FAILED = enum.auto()  # the chain, its dates or its purpose
    SAN_MISMATCH = enum.auto()
    CERTIFICATE_HASH_MISMATCH = enum.auto()
    SERVER_NAME = enum.auto()  # an SNI that cannot be sent, or one that is required and missing
    TRUNCATED = enum.auto()  # the transport ended before close_notify
    CLOSED = enum.auto()  # write after our own close_notify
    NOT_READY = enum.auto()  # a secret has not come yet


#: Envoy's `ssl.` counter for each kind; the kinds that are not here are not counted.
_COUNTERS: Final = {
    TlsErrorKind.PROTOCOL: "connection_error",
    TlsErrorKind.PEER_ALERT: "connection_error",
    TlsErrorKind.SERVER_NAME: "connection_error",
    TlsErrorKind.NO_CERTIFICATE: "fail_verify_no_cert",
    TlsErrorKind.VERIFY_FAILED: "fail_verify_error",
    TlsErrorKind.SAN_MISMATCH: "fail_verify_san",
    TlsErrorKind.CERTIFICATE_HASH_MISMATCH: "fail_verify_cert_hash",
}


class TlsError(Exception):
    """The session failed. `str()` is the transport failure reason in Envoy's form: `TLS_error:|...:TLS_error_end`.

    `reason` is the middle part, made of our own and OpenSSL's words only, never of bytes from the wire.
    """

    def __init__(self, reason: str, kind: TlsErrorKind = TlsErrorKind.PROTOCOL) -> None:
        super().__init__(f"TLS_error:|{reason}:TLS_error_end")
        self.reason = reason
        self.kind = kind

    @property
    def counter(self) -> str:
        """The name of the `ssl.` counter that this failure increments, or ""."""
        return _COUNTERS.get(self.kind, "")


#: Judges the peer once, right after the handshake. Returns None to accept it.
PeerVerifier: TypeAlias = Callable[["TlsSession"], TlsError | None]


class TlsSession:
    """One TLS connection, client or server.

    `server_name` is the SNI to send (client) or the SNI that was seen (server, for `sni` only). Raises TlsError from the
    constructor when `server_name` cannot be sent.
    """

    __slots__ = (
        "_early",
        "_early_bytes",
        "_incoming",
        "_object",
        "_outgoing",
        "_read",
        "_sent",
        "_verify",
        "_write",
        "_write_close_wanted",
        "_write_closed",
        "failure",
        "handshake_done",
        "peer_closed",
        "peer_validated",
        "server_side",
        "sni",
    )

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_name: str = "",
        verify: PeerVerifier | None = None,
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        try:
            self._object = context.wrap_bio(
                self._incoming,
                self._outgoing,
                server_side=server_side,
                server_hostname=None if server_side else (server_name or None),
            )
        except ssl.SSLError as error:
            raise _translate(error) from error
        except (ValueError, TypeError) as error:  # UnicodeError from the idna codec is a ValueError
            raise TlsError("server name cannot be sent as SNI", TlsErrorKind.SERVER_NAME) from error
        self._read = self._object.read
        self._write = self._object.write
        self._verify = verify
        self._early: list[bytes] | None = None
        self._early_bytes = 0
        self._sent: list[bytes] = []
        self._write_closed = False
        self._write_close_wanted = False
        self.failure: TlsError | None = None
        self.handshake_done = False
        self.peer_closed = False
        #: set by the verifier: a CA that we trust vouches for the peer's certificate
        self.peer_validated = False
        self.server_side = server_side
        self.sni = server_name

    # input

    def receive(self, data: bytes) -> bytes:
        """Take ciphertext (may be empty, to start a client's handshake) and return the plaintext that it gave.

        Raises TlsError. Bytes after the peer's close_notify are ignored.
        """
        if self.failure is not None:
            raise self.failure
        if self.peer_closed:
            return b""
        incoming = self._incoming
        try:
            if len(data) <= _CHUNK_BYTES:
                incoming.write(data)
                if not self.handshake_done and not self._advance():
                    return b""
                plaintext = self._read_plaintext()
            else:
                plaintext = self._receive_large(data)
            if self._write_close_wanted and not self._write_closed and self.handshake_done:
                self._send_close_notify()  # not before the data behind the handshake: OpenSSL would find it in its way
            return plaintext
        except ssl.SSLError as error:
            raise self._fail(_translate(error)) from error

    def _receive_large(self, data: bytes) -> bytes:
        pieces: list[bytes] = []
        view = memoryview(data)
        for at in range(0, len(data), _CHUNK_BYTES):
            self._incoming.write(view[at : at + _CHUNK_BYTES])
            if self.handshake_done or self._advance():
                pieces.append(self._read_plaintext())
                if self.peer_closed:
                    break
        return b"".join(pieces)

    def _read_plaintext(self) -> bytes:
        """Everything that can be read now. A read takes a whole record, so that nothing is left decrypted and unread, and the
        BIO is asked before each: an exception for each call would cost more.
        """
        incoming, read = self._incoming, self._read
        first = b""
        more: list[bytes] | None = None
        while incoming.pending:
            try:
                piece = read(_RECORD_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                piece = b""
            if not piece:
                self.peer_closed = True
                break
            if not first:
                first = piece
            elif more is None:
                more = [first, piece]
            else:
                more.append(piece)
        return first if more is None else b"".join(more)

    def _advance(self) -> bool:
        """Go on with the handshake; True when it is done and the peer accepted. Raises TlsError and SSLError."""
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        verify, self._verify = self._verify, None
        if verify is not None:
            refused = verify(self)
            if refused is not None:
                raise self._fail(refused)
        self.handshake_done = True
        early, self._early = self._early, None
        if early is not None:
            for piece in early:
                self._encrypt(piece)
        return True

    def receive_eof(self) -> None:
        """The transport ended. Raises TlsError unless the peer's close_notify came before (RFC 8446 section 6.1)."""
        if self.failure is not None:
            raise self.failure
        if self.peer_closed:
            return
        where = "" if self.handshake_done else " during the handshake"
        raise self._fail(TlsError(f"connection closed by the peer{where}", TlsErrorKind.TRUNCATED))

    # output

    def send(self, plaintext: bytes) -> None:
        """Encrypt. Before the handshake is done the bytes wait for it, up to 1 MiB. Raises TlsError."""
        if self.failure is not None:
            raise self.failure
        if self._write_closed or self._write_close_wanted:
            raise TlsError("write after close_notify", TlsErrorKind.CLOSED)
        if not plaintext:
            return
        if not self.handshake_done:
            self._early_bytes += len(plaintext)
            if self._early_bytes > _MAX_EARLY_BYTES:
                raise self._fail(TlsError("too much data before the handshake was done"))
            if self._early is None:
                self._early = []
            self._early.append(plaintext)
            return
        try:
            self._encrypt(plaintext)
        except ssl.SSLError as error:
            raise self._fail(_translate(error)) from error

    def _encrypt(self, plaintext: bytes) -> None:
        if len(plaintext) <= _CHUNK_BYTES:
            self._write(plaintext)
            return
        view = memoryview(plaintext)
        outgoing, sent = self._outgoing, self._sent
        for at in range(0, len(plaintext), _CHUNK_BYTES):
            self._write(view[at : at + _CHUNK_BYTES])
            sent.append(outgoing.read())

    def close_write(self) -> None:
        """Send close_notify; reading goes on. Harmless twice, after an error, and before the handshake is done."""
        if self._write_closed or self.failure is not None:
            return
        self._write_close_wanted = True
        if self.handshake_done:
            self._send_close_notify()

    def _send_close_notify(self) -> None:
        self._write_closed = True
        try:
            self._object.unwrap()
        except ssl.SSLError:
            # WANT_READ: ours is out, the peer's has not come. Whatever else is wrong, reading will tell.
            return

    def take_output(self) -> bytes:
        """Everything that must go to the peer now."""
        sent = self._sent
        if not sent:
            return self._outgoing.read() if self._outgoing.pending else b""
        if self._outgoing.pending:
            sent.append(self._outgoing.read())
        output = sent[0] if len(sent) == 1 else b"".join(sent)
        sent.clear()
        return output

    # what was agreed (empty before the handshake is done)

    @property
    def alpn(self) -> str:
        """The negotiated protocol, "" if none."""
        return self._object.selected_alpn_protocol() or ""

    @property
    def version(self) -> str:
        """`TLSv1.3`, `TLSv1.2`, ..."""
        return self._object.version() or ""

    @property
    def cipher(self) -> str:
        """OpenSSL's name of the cipher suite."""
        found = self._object.cipher()
        return found[0] if found else ""

    @property
    def peer_certificate_der(self) -> bytes | None:
        """The peer's certificate, None if it showed none."""
        try:
            return self._object.getpeercert(True)
        except ValueError:  # the handshake has not got that far
            return None

    def _fail(self, error: TlsError) -> TlsError:
        if self.failure is None:
            self.failure = error
            self._early = None
            self._verify = None
        return self.failure


#: Numbers of reasons in Envoy's texts: `268435456 +` BoringSSL's reason code. Alerts are 1000 + the alert's number.
_REASON_CODES: Final = {
    "BAD_DECRYPT": 101,
    "CERTIFICATE_VERIFY_FAILED": 125,
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": 139,
    "HTTP_REQUEST": 156,
    "NO_SHARED_CIPHER": 184,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": 192,
    "UNSUPPORTED_PROTOCOL": 240,
    "WRONG_VERSION_NUMBER": 247,
    "SSLV3_ALERT_UNEXPECTED_MESSAGE": 1010,
    "SSLV3_ALERT_BAD_RECORD_MAC": 1020,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": 1040,
    "SSLV3_ALERT_BAD_CERTIFICATE": 1042,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": 1043,
    "SSLV3_ALERT_CERTIFICATE_REVOKED": 1044,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": 1045,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": 1046,
    "SSLV3_ALERT_ILLEGAL_PARAMETER": 1047,
    "TLSV1_ALERT_UNKNOWN_CA": 1048,
    "TLSV1_ALERT_ACCESS_DENIED": 1049,
    "TLSV1_ALERT_DECODE_ERROR": 1050,
    "TLSV1_ALERT_DECRYPT_ERROR": 1051,
    "TLSV1_ALERT_PROTOCOL_VERSION": 1070,
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": 1071,
    "TLSV1_ALERT_INTERNAL_ERROR": 1080,
    "TLSV1_UNRECOGNIZED_NAME": 1112,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": 1116,
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": 1120,
}
_SSL_LIBRARY: Final = 0x10000000


def failure_text(reason: str, detail: str = "") -> str:
    """The middle part of Envoy's failure text for an OpenSSL reason name, with its number where Envoy has one."""
    code = _REASON_CODES.get(reason)
    text = (
        f"SSL routines:{reason}"
        if code is None
        else f"{_SSL_LIBRARY + code}:SSL routines:OPENSSL_internal:{reason}"
    )
    return f"{text}:{detail}" if detail else text


def peer_refused(detail: str, kind: TlsErrorKind) -> TlsError:
    """The peer's certificate is not acceptable, by our own judgement after the handshake."""
    return TlsError(failure_text("CERTIFICATE_VERIFY_FAILED", f"verify cert failed: {detail}"), kind)


def no_certificate() -> TlsError:
    """The peer had to show a certificate and did not."""
    detail = "peer did not provide required client certificate"
    return TlsError(failure_text("PEER_DID_NOT_RETURN_A_CERTIFICATE", detail), TlsErrorKind.NO_CERTIFICATE)


def _translate(error: ssl.SSLError) -> TlsError:
    if isinstance(error, ssl.SSLCertVerificationError):
        detail = f"X509_verify_cert: certificate verification error: {error.verify_message}"
        return peer_refused(detail, TlsErrorKind.VERIFY_FAILED)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return TlsError("connection closed by the peer during the handshake", TlsErrorKind.TRUNCATED)
    reason = error.reason or "UNKNOWN"
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return no_certificate()
    kind = TlsErrorKind.PEER_ALERT if "_ALERT_" in reason else TlsErrorKind.PROTOCOL
    return TlsError(failure_text(reason), kind)
