"""What the connection manager does to every response head on its way to the client."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeAlias

from config.model.http import HttpConnectionManagerSpec, ServerHeaderTransformation
from protocols.http.headers import Headers
from sidecar.http.request_headers import append_via

_REQUEST_ID: Final = b"x-request-id"
#: Who forces a trace wants to find it.
_FORCE_TRACE: Final = b"x-envoy-force-trace"

_DAYS: Final = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_MONTHS: Final = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()

Clock: TypeAlias = Callable[[], float]


class HttpDate:
    """The value of `date` (RFC 9110 section 5.6.7), made once a second."""

    __slots__ = ("_clock", "_second", "_text")

    def __init__(self, clock: Clock = time.time) -> None:
        self._clock = clock
        self._second = -1
        self._text = b""

    def now(self) -> bytes:
        second = int(self._clock())
        if second != self._second:
            at = time.gmtime(second)
            self._text = b"%b, %02d %b %d %02d:%02d:%02d GMT" % (
                _DAYS[at.tm_wday],
                at.tm_mday,
                _MONTHS[at.tm_mon - 1],
                at.tm_year,
                at.tm_hour,
                at.tm_min,
                at.tm_sec,
            )
            self._second = second
        return self._text


class ResponseRules:
    """Compiled from one HttpConnectionManagerSpec. Hop-by-hop fields are not its business: the codec has taken them out."""

    __slots__ = ("_date", "_overwrites_server", "_server", "_sets_request_id", "_sets_server", "_via")

    def __init__(self, spec: HttpConnectionManagerSpec, clock: Clock = time.time) -> None:
        transformation = spec.server_header_transformation
        self._server = spec.server_name.encode()
        self._sets_server = transformation is not ServerHeaderTransformation.PASS_THROUGH
        self._overwrites_server = transformation is ServerHeaderTransformation.OVERWRITE
        self._via = spec.via.encode()
        self._sets_request_id = spec.always_set_request_id_in_response
        self._date = HttpDate(clock)

    def apply(self, headers: Headers, request_headers: Headers | None) -> None:
        """Edit a final response head, proxied or local. `request_headers` None: the request was never understood."""
        if b"date" not in headers:
            headers.set(b"date", self._date.now())
        if self._sets_server and (self._overwrites_server or b"server" not in headers):
            headers.set(b"server", self._server)
        self._copy_request_id(headers, request_headers)
        if self._via:
            append_via(headers, self._via)

    def apply_interim(self, headers: Headers, request_headers: Headers | None) -> None:
        """Edit a 1xx head: neither date, server nor via."""
        self._copy_request_id(headers, request_headers)

    def _copy_request_id(self, headers: Headers, request_headers: Headers | None) -> None:
        if request_headers is not None and (self._sets_request_id or _FORCE_TRACE in request_headers):
            value = request_headers.get(_REQUEST_ID)
            if value:
                headers.set(_REQUEST_ID, value)
