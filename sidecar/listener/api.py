"""The extension point of the listener floor: filters that look at the first bytes without consuming them."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Protocol

from sidecar.stream_info import ConnectionInfo
from stats.store import Scope


class Peek(enum.Enum):
    """What a listener filter says after looking."""

    DONE = enum.auto()  # found what there is to find; on to the next filter
    MORE = enum.auto()  # call again with more bytes
    REJECT = enum.auto()  # close the connection


class ListenerFilter(Protocol):
    """One per connection. Findings go into `ConnectionInfo`.

    `max_bytes`: never asked to look at more; 0: needs no bytes. `consumed`: after DONE, how many of the first bytes belong
    to the filter itself and must not reach the connection (the PROXY protocol header).
    """

    max_bytes: int
    consumed: int

    def on_accept(self, info: ConnectionInfo, socket: Any) -> Peek:
        """The connection was accepted; `socket` is the transport's socket (for socket options) or None."""

    def on_bytes(self, seen: bytes, info: ConnectionInfo) -> Peek:
        """All bytes received so far (less what earlier filters consumed)."""


class ListenerFilterFactory(Protocol):
    def create(self) -> ListenerFilter: ...


#: The first argument is the filter's own spec class, the second the root scope.
ListenerFilterBuilder = Callable[[Any, Scope], ListenerFilterFactory]
