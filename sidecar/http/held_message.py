"""What happens to a message while a filter holds it: bounded keeping, and going on where it stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from sidecar.transport.flow import CONTINUE, HOLD, HOLD_HEADERS, Flow, Held

if TYPE_CHECKING:
    from protocols.http.headers import Headers
    from sidecar.http.api import Stream

#: The bound method of a filter, with the filter's place in the order of the direction.
HeaderStep: TypeAlias = "tuple[int, Callable[[Stream, Headers, bool], Flow]]"
DataStep: TypeAlias = "tuple[int, Callable[[Stream, bytes, bool], bytes | Held]]"
TrailerStep: TypeAlias = "tuple[int, Callable[[Stream, Headers], Flow | bytes]]"


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

    While headers are held no filter sees data, unless the holder asked for it (HOLD_HEADERS: it is the watcher then): the
    message goes as far as the watcher, and what it passes on lets the headers go first. While data is held the filters before the holder, and the holder itself,
    still see data: bytes that the holder returns go on behind what was held. Trailers reach the holder too, and its
    CONTINUE releases the body. When two filters hold, the one that held last resumes first.
    """

    __slots__ = (
        "_data_steps",
        "_full",
        "_header_steps",
        "_headers",
        "_headers_end",
        "_in_headers",
        "_kept",
        "_limit",
        "_on_full",
        "_resumed",
        "_stream",
        "_trailer_steps",
        "_trailers",
        "_waiting",
        "_watcher",
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
        self._watcher = -1  # the data step of the filter that holds the headers and sees the body
        self._limit = limit_bytes
        self._full = False
        self._on_full: Callable[[bool], None] | None = on_full
        self._resumed = False
        self._in_headers = False
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

    def watch(self, place: int) -> None:
        """The filter at this place, which answered HOLD_HEADERS, is to see the body before its headers go on."""
        self._watcher = next((at for at, step in enumerate(self._data_steps) if step[0] == place), -1)

    def end_with(self, place: int, data: bytes) -> None:
        """The filter at this place gave data in place of the trailers."""
        self._trailers = None
        self._trailer_steps.clear()
        self.hold_data(self._last_data_step(place), data, True)
        if not self._holds_headers():
            self._release()

    def _last_data_step(self, place: int) -> int:
        """The data step of the filter at this place, or of the last one before it; -1: there is none."""
        return sum([step[0] <= place for step in self._data_steps]) - 1

    def hold_trailers(self, trailers: Headers) -> None:
        """A filter answered HOLD to these; the steps of the others are still to be taken."""
        self._trailers = trailers

    def _holds_headers(self) -> bool:
        """By a filter that does not look at the body: all of it waits for them."""
        return bool(self._header_steps) and self._watcher < 0

    def push_data(self, data: bytes, end: bool) -> None:
        """More of the body came."""
        if self._holds_headers():
            self._waiting.add(data, end)
            self._tell_full()
        else:
            self._run_data(0, data, end)

    def push_trailers(self, trailers: Headers) -> None:
        """The trailers came."""
        self._trailers = trailers
        self._run_trailers()

    def resume(self) -> None:
        """The filter that held last lets go. Before its HOLD was seen: that HOLD does not count."""
        if self.dropped:
            return
        if self._in_headers:
            self._resumed = True
        elif self._header_steps and not (self._kept and self._kept[-1].at < self._watcher):
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
        """The headers go on, and behind them what waited for them."""
        if not self._pass_headers() or self._holds_headers():
            return
        if self._kept:
            self._release()
            if self._holds_headers():  # a watcher let them go to the next filter, which holds them
                return
        waiting, self._waiting = self._waiting, _Kept(-1)
        self._tell_full()
        if waiting.chunks or waiting.end:
            self._run_data(0, waiting.take(), waiting.end)
        self._run_trailers()

    def _pass_headers(self) -> bool:
        """To the next filter that holds them, or through all. False: the message was dropped."""
        steps = self._header_steps
        self._watcher = -1
        while steps:
            place, step = steps[0]
            self._resumed = False
            self._in_headers = True
            flow = step(self._stream, self._headers, self._headers_end)
            self._in_headers = False
            if self.dropped:
                return False
            del steps[0]
            if flow is not CONTINUE and not self._resumed:
                if flow is HOLD_HEADERS:
                    self.watch(place)
                break
        return True

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
            if at == self._watcher:  # what it passes on lets its headers go first
                if not self._pass_headers():
                    return
                if self._holds_headers():  # by the next one
                    self.hold_data(at, data, end)
                    return
            at += 1

    def _release(self) -> None:
        kept = self._kept.pop()
        data = kept.take()
        self._tell_full()
        if data or kept.end:
            self._run_data(kept.at + 1, data, kept.end)

    def _run_trailers(self) -> None:
        """Trailers go as far as the holder of the body, or the watcher; its CONTINUE lets go, and they go on behind."""
        steps = self._trailer_steps
        while self._trailers is not None and not self.dropped and not self._holds_headers():
            holder = self._kept[-1].at if self._kept else self._watcher
            if not steps:
                if holder < 0:
                    self._trailers = None
                return
            place, step = steps[0]
            if holder >= 0 and place > self._data_steps[holder][0]:
                return
            del steps[0]
            self._resumed = False
            flow = step(self._stream, self._trailers)
            if self.dropped or (flow is HOLD and not self._resumed):
                return
            holds = holder >= 0 and place == self._data_steps[holder][0]
            if holds and holder == self._watcher and not self._pass_headers():
                return
            if isinstance(flow, bytes):
                self.end_with(place, flow)
            elif holds and self._kept and not self._holds_headers():
                self._release()
