"""What happens to a message while a filter holds it: bounded keeping, and going on where it stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from sidecar.transport.flow import HOLD, Flow, Held

if TYPE_CHECKING:
    from protocols.http.headers import Headers
    from sidecar.http.api import Stream

#: The bound method of a filter; for data and trailers with the filter's place in the order of the direction.
HeaderStep: TypeAlias = "Callable[[Stream, Headers, bool], Flow]"
DataStep: TypeAlias = "tuple[int, Callable[[Stream, bytes, bool], bytes | Held]]"
TrailerStep: TypeAlias = "tuple[int, Callable[[Stream, Headers], Flow]]"


class Steps(NamedTuple):
    """What is still to be taken of one direction. No header steps: the headers are through."""

    headers: tuple[HeaderStep, ...]
    data: tuple[DataStep, ...]
    trailers: tuple[TrailerStep, ...]


class _Kept:
    """Body bytes that wait: for the filter at step `at`, or for the headers."""

    __slots__ = ("at", "chunks", "end", "size")

    def __init__(self, at: int) -> None:
        self.at = at
        self.chunks: list[bytes] = []
        self.size = 0
        self.end = False

    def add(self, data: bytes, end: bool) -> None:
        if data:
            self.chunks.append(data)
            self.size += len(data)
        self.end = self.end or end

    def take(self) -> bytes:
        chunks, self.chunks, self.size = self.chunks, [], 0
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


class HeldMessage:
    """One direction of a stream from the first HOLD of a filter until nothing is held any more.

    Made by the stream when a filter answers HOLD, so that streams nobody holds pay nothing. The steps are the filters'
    bound methods in the order of that direction; the last step (the terminal filter or the encoder) never holds.

    While headers are held no filter sees data. While data is held the filters before the holder, and the holder itself,
    still see data: bytes that the holder returns go on behind what was held. Trailers reach the holder too, and its
    CONTINUE releases the body. When two filters hold, the one that held last resumes first.
    """

    __slots__ = (
        "_data_steps",
        "_full",
        "_header_steps",
        "_headers",
        "_headers_end",
        "_kept",
        "_limit",
        "_on_full",
        "_resumed",
        "_stream",
        "_trailer_steps",
        "_trailers",
        "_waiting",
        "dropped",
    )

    def __init__(
        self,
        stream: Stream,
        headers: Headers,
        headers_end: bool,
        steps: Steps,
        limit_bytes: int,
        on_full: Callable[[bool], None],
    ) -> None:
        """`on_full`: stop and start the source."""
        self._stream = stream
        self._headers = headers
        self._headers_end = headers_end
        self._header_steps = list(steps.headers)
        self._data_steps = steps.data
        self._trailer_steps = list(steps.trailers)
        self._trailers: Headers | None = None
        self._waiting = _Kept(-1)
        self._kept: list[_Kept] = []
        self._limit = limit_bytes
        self._full = False
        self._on_full: Callable[[bool], None] | None = on_full
        self._resumed = False
        self.dropped = False

    @property
    def holds(self) -> bool:
        """Something is still held."""
        return bool(self._header_steps or self._kept or self._trailers is not None)

    def drop(self) -> None:
        """The message goes no further: forget it."""
        self.dropped = True
        self._header_steps.clear()
        self._kept.clear()
        self._waiting = _Kept(-1)
        self._trailers = None
        self._tell_full()
        self._on_full = None

    def hold_data(self, at: int, data: bytes, end: bool) -> None:
        """The filter at step `at` answered HOLD to this data."""
        if not self._kept or self._kept[-1].at != at:
            self._kept.append(_Kept(at))
        self._kept[-1].add(data, end)
        self._tell_full()

    def hold_trailers(self, trailers: Headers) -> None:
        """A filter answered HOLD to these; the steps of the others are still to be taken."""
        self._trailers = trailers

    def push_data(self, data: bytes, end: bool) -> None:
        """More of the body came."""
        if self._header_steps:
            self._waiting.add(data, end)
            self._tell_full()
        else:
            self._run_data(0, data, end)

    def push_trailers(self, trailers: Headers) -> None:
        """The trailers came."""
        self._trailers = trailers
        if not self._header_steps:
            self._run_trailers()

    def resume(self) -> None:
        """The filter that held last lets go. Before its HOLD was seen: that HOLD does not count."""
        if self.dropped:
            return
        if self._header_steps:
            self._run_headers()
        elif self._kept:
            self._release()
            self._run_trailers()
        elif self._trailers is not None:
            self._run_trailers()
        else:
            self._resumed = True

    def _tell_full(self) -> None:
        size = self._waiting.size + sum([kept.size for kept in self._kept])
        full = size > self._limit
        if full is not self._full and self._on_full is not None:
            self._full = full
            self._on_full(full)

    def _run_headers(self) -> None:
        steps = self._header_steps
        while steps:
            self._resumed = False
            flow = steps[0](self._stream, self._headers, self._headers_end)
            if self.dropped:
                return
            del steps[0]
            if flow is HOLD and not self._resumed:
                return
        waiting, self._waiting = self._waiting, _Kept(-1)
        self._tell_full()
        if waiting.chunks or waiting.end:
            self._run_data(0, waiting.take(), waiting.end)
        self._run_trailers()

    def _run_data(self, at: int, data: bytes, end: bool) -> None:
        steps = self._data_steps
        while at < len(steps):
            self._resumed = False
            passed = steps[at][1](self._stream, data, end)
            if self.dropped:
                return
            if passed is HOLD:
                if not self._resumed:
                    self.hold_data(at, data, end)
                    return
            else:
                data = passed
            if self._kept and self._kept[-1].at == at:  # what was held goes first
                kept = self._kept.pop()
                kept.add(data, end)
                data, end = kept.take(), kept.end
                self._tell_full()
            if not data and not end:
                return
            at += 1

    def _release(self) -> None:
        kept = self._kept.pop()
        data = kept.take()
        self._tell_full()
        if data or kept.end:
            self._run_data(kept.at + 1, data, kept.end)

    def _run_trailers(self) -> None:
        """Trailers go as far as the holder of the body; its CONTINUE releases the body, and they go on behind it."""
        steps = self._trailer_steps
        while self._trailers is not None and not self.dropped:
            holder = self._data_steps[self._kept[-1].at][0] if self._kept else None
            if not steps:
                if holder is None:
                    self._trailers = None
                return
            place, step = steps[0]
            if holder is not None and place > holder:
                return
            del steps[0]
            self._resumed = False
            flow = step(self._stream, self._trailers)
            if self.dropped or (flow is HOLD and not self._resumed):
                return
            if holder is not None and place == holder and self._kept:
                self._release()
