"""How the end of a TLS handshake moves the `ssl.*` counters, downstream and upstream alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.stream_info import TlsInfo

if TYPE_CHECKING:
    from protocols.tls.session import TlsSession
    from stats.families import TlsStats


def count_tls_outcome(stats: TlsStats, session: TlsSession, outcome: TlsInfo | str) -> None:
    """`outcome`: the facts of a finished handshake, or the text of its failure."""
    if isinstance(outcome, TlsInfo):
        stats.count_handshake(outcome.version, outcome.cipher)
    elif session.failure is not None and session.failure.counter:
        getattr(stats, session.failure.counter).inc()
