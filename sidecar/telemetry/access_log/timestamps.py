"""Operators of time: START_TIME with its strftime-like language, and durations in milliseconds."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Final, TypeAlias

from sidecar.stream_info import StreamInfo
from sidecar.telemetry.access_log.operator import (
    Argument,
    Builder,
    Operator,
    Reading,
    number,
    numeric,
    refuse_argument,
    refuse_length,
)

_US_PER_S: Final = 1_000_000
_NS_PER_MS: Final = 1_000_000

_DEFAULT: Final = "%Y-%m-%dT%H:%M:%E3SZ"
_DEFAULT_LOCAL: Final = "%Y-%m-%dT%H:%M:%E3S%z"


#: `%3f`, `%f` and `%E3S`, `%E*S`: the parts of a second; `%s`: the whole seconds. All else is strftime's.
_FRACTION: Final = re.compile(r"%(?:([1-9])f|(f)|E([0-9*])S|E([1-9*])f|(s)|(%))")


_SecondsOf: TypeAlias = Callable[[StreamInfo], float]


def time_operator(seconds_of: _SecondsOf, *, local: bool = False, settled: bool = False) -> Builder:
    """An operator that prints POSIX seconds (0.0: missing) by its own format, in UTC or local time. `settled`: see `Operator`."""
    zone = None if local else UTC

    def build(argument: Argument) -> Operator:
        refuse_length(argument)
        missing = argument.missing
        pieces = _pieces(argument.text or (_DEFAULT_LOCAL if local else _DEFAULT), zone)

        def read(info: StreamInfo) -> bytes:
            at = seconds_of(info)
            return "".join([piece(at) for piece in pieces]).encode() if at else missing

        return Reading(read, settled)

    return build


def _start_time(argument: Argument) -> Operator:
    if argument.text:
        return time_operator(lambda info: info.start_s, settled=True)(argument)
    refuse_length(argument)
    return _StartTime()


#: `.000Z` to `.999Z`
_MILLIS: Final = tuple([b".%03dZ" % millis for millis in range(1000)])


class _StartTime(Operator):
    """`2026-01-31T12:00:00.123Z`; the part down to the second is remembered for the requests of that second."""

    __slots__ = ("_prefix", "_second")

    def __init__(self) -> None:
        super().__init__(settled=True)
        self._second = -1
        self._prefix = b""

    def read(self, info: StreamInfo) -> bytes:
        start_ms = int(info.start_s * 1000)
        second = start_ms // 1000
        if second != self._second:
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
            self._second = second
        return self._prefix + _MILLIS[start_ms - second * 1000]


_Piece: TypeAlias = Callable[[float], str]


def _pieces(text: str, zone: tzinfo | None) -> list[_Piece]:
    pieces: list[_Piece] = []
    position = 0
    for found in _FRACTION.finditer(text):
        if found.start() > position:
            pieces.append(_strftime(text[position : found.start()], zone))
        position = found.end()
        digits, nine, seconds, fraction, epoch, percent = found.groups()
        if percent:
            pieces.append(lambda at: "%")
        elif epoch:
            pieces.append(lambda at: str(int(at)))
        elif seconds is not None:
            pieces.append(_seconds_with_fraction(seconds, zone))
        else:
            pieces.append(_fraction(9 if nine else _digits(digits or fraction)))
    if position < len(text):
        pieces.append(_strftime(text[position:], zone))
    return pieces


def _digits(text: str) -> int:
    return 9 if text == "*" else int(text)


def _strftime(text: str, zone: tzinfo | None) -> _Piece:
    def piece(at: float) -> str:
        return datetime.fromtimestamp(int(at), UTC).astimezone(zone).strftime(text)

    piece(0.0)  # a format that strftime refuses is found now
    return piece


def _fraction(digits: int) -> _Piece:
    divisor = 10 ** (9 - digits)

    def piece(at: float) -> str:
        # whole microseconds: more digits a float of seconds does not hold
        return f"{int(at * _US_PER_S) % _US_PER_S * 1000 // divisor:0{digits}d}"

    return piece


def _seconds_with_fraction(digits: str, zone: tzinfo | None) -> _Piece:
    seconds = _strftime("%S", zone)
    if digits == "0":
        return seconds
    fraction = _fraction(_digits(digits))
    if digits == "*":  # as many digits as there are
        return lambda at: f"{seconds(at)}.{fraction(at)}".rstrip("0").rstrip(".")
    return lambda at: f"{seconds(at)}.{fraction(at)}"


# Durations

_InstantOf: TypeAlias = Callable[[StreamInfo], int]

#: The instants between which durations run, by Envoy's names.
_INSTANTS: Final[Mapping[str, _InstantOf]] = {
    "DS_RX_BEG": lambda info: info.start_ns,
    "DS_RX_END": lambda info: info.last_request_byte_ns,
    "US_TX_BEG": lambda info: info.first_upstream_tx_byte_ns,
    "US_TX_END": lambda info: info.last_upstream_tx_byte_ns,
    "US_RX_BEG": lambda info: info.first_upstream_rx_byte_ns,
    "US_RX_END": lambda info: info.last_upstream_rx_byte_ns,
    "DS_TX_BEG": lambda info: info.first_response_byte_ns,
    "DS_TX_END": lambda info: info.last_response_byte_ns,
}
_PRECISIONS: Final[Mapping[str, int]] = {"ms": _NS_PER_MS, "us": 1000, "ns": 1}


def _never(info: StreamInfo) -> int:
    return 0


def _between(begin: _InstantOf, end: _InstantOf, unit_ns: int, missing: bytes) -> Operator:
    def read(info: StreamInfo) -> bytes:
        begin_ns = begin(info)
        end_ns = end(info)
        return b"%d" % ((end_ns - begin_ns) // unit_ns) if 0 < begin_ns <= end_ns else missing

    return Reading(read, settled=True)


def _duration(begin: str, end: str) -> Builder:
    def build(argument: Argument) -> Operator:
        refuse_argument(argument)
        return _between(_INSTANTS[begin], _INSTANTS[end], _NS_PER_MS, argument.missing)

    return numeric(build)


def _milliseconds(info: StreamInfo) -> int:
    """From the first byte of the request to the last of the response, or to now while the stream goes on."""
    return ((info.end_ns or time.monotonic_ns()) - info.start_ns) // _NS_PER_MS


def _common_duration(argument: Argument) -> Operator:
    """`COMMON_DURATION(START:END:PRECISION)`: instants this proxy does not know never happened."""
    refuse_length(argument)
    begin, _, rest = (argument.text or "").partition(":")
    end, _, precision = rest.partition(":")
    unit_ns = _PRECISIONS.get(precision or "ms")
    if not begin or not end or unit_ns is None:
        raise ValueError("COMMON_DURATION needs (START:END:PRECISION) with precision ms, us or ns")
    return _between(_INSTANTS.get(begin, _never), _INSTANTS.get(end, _never), unit_ns, argument.missing)


TIME_OPERATORS: Final[Mapping[str, Builder]] = {
    "COMMON_DURATION": numeric(_common_duration),
    "DURATION": number(_milliseconds, settled=True),
    "REQUEST_DURATION": _duration("DS_RX_BEG", "DS_RX_END"),
    "REQUEST_TX_DURATION": _duration("DS_RX_BEG", "US_TX_END"),
    "RESPONSE_DURATION": _duration("DS_RX_BEG", "US_RX_BEG"),
    "RESPONSE_TX_DURATION": _duration("US_RX_BEG", "DS_TX_END"),
    "EMIT_TIME": time_operator(lambda info: time.time()),
    "EMIT_TIME_LOCAL": time_operator(lambda info: time.time(), local=True),
    "START_TIME": _start_time,
    "START_TIME_LOCAL": time_operator(lambda info: info.start_s, local=True, settled=True),
}
