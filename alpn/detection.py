"""What was found out about a connection before it was given to anybody: the input of the filter chain match."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RAW_BUFFER: Final = "raw_buffer"
TLS: Final = "tls"


class Incomplete:
    """More bytes are needed before anything can be said."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Incomplete()"


INCOMPLETE: Final = Incomplete()


@dataclass(frozen=True, slots=True)
class Detection:
    """`transport_protocol` is `tls` or `raw_buffer`.

    `application_protocols` is the client's ALPN list in its order (TLS), or the HTTP inspector's finding (plaintext);
    `server_name` the SNI in lower case, "" if none.
    """

    transport_protocol: str = RAW_BUFFER
    server_name: str = ""
    application_protocols: tuple[str, ...] = ()
