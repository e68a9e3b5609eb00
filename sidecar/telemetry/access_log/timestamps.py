"""Operators of time: START_TIME with its strftime-like language, and durations in milliseconds."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Final, TypeAlias

from sidecar.stream_info import StreamInfo
from sidecar.telemetry.access_log.operator import Argument, Builder, numeric, refuse_argument, refuse_length
from sidecar.telemetry.access_log.source import Operator, operator_of

_US_PER_S: Final = 1_000_000
_NS_PER_MS: Final = 1_000_000

_DEFAULT: Final = "%Y-%m-%dT%H:%M:%E3SZ"
_DEFAULT_LOCAL: Final = "%Y-%m-%dT%H:%M:%E3S%z"


#: `%3f`, `%f` and `%E3S`, `%E*S`: the parts of a second; `%s`: the whole seconds. All else is strftime's.
_FRACTION: Final = re.compile(r"%(?:([1-9])f|(f)|E([0-9*])S|E([1-9*])f|(s)|(%))")


_SecondsOf: TypeAlias = Callable[[StreamInfo], float]


def time_operator(seconds_of: _SecondsOf, *, local: bool = False) -> Builder:
    """An operator that prints POSIX seconds (0.0: missing) by its own format, in UTC or local time."""
    zone = None if local else UTC

    def build(argument: Argument) -> Operator:
        refuse_length(argument)
        missing = argument.missing
        pieces = _pieces(argument.text or (_DEFAULT_LOCAL if local else _DEFAULT), zone)

        def read(info: StreamInfo) -> bytes:
            at = seconds_of(info)
            return "".join([piece(at) for piece in pieces]).encode() if at else missing

        return read

    return build


def _start_time(argument: Argument) -> Operator:
    if argument.text:
        return time_operator(lambda info: info.start_s)(argument)
    refuse_length(argument)
    return _default_start_time()


def _default_start_time() -> Operator:
    """`2026-01-31T12:00:00.123Z`; the part down to the second is remembered for the requests of that second."""
    second, prefix = -1, b""

    def read(info: StreamInfo) -> bytes:
        nonlocal second, prefix
        start_ms = int(info.start_s * 1000)
        whole, millis = divmod(start_ms, 1000)
        if whole != second:
            prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)).encode()
            second = whole
        return b"%b.%03dZ" % (prefix, millis)

    return read


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

#: The instants between which durations run, by Envoy's names.
_INSTANTS: Final[Mapping[str, str]] = {
    "DS_RX_BEG": "info.start_ns",
    "DS_RX_END": "info.last_request_byte_ns",
    "US_TX_BEG": "info.first_upstream_tx_byte_ns",
    "US_TX_END": "info.last_upstream_tx_byte_ns",
    "US_RX_BEG": "info.first_upstream_rx_byte_ns",
    "US_RX_END": "info.last_upstream_rx_byte_ns",
    "DS_TX_BEG": "info.first_response_byte_ns",
    "DS_TX_END": "info.last_response_byte_ns",
}
_NEVER: Final = "0"
_PRECISIONS: Final[Mapping[str, int]] = {"ms": _NS_PER_MS, "us": 1000, "ns": 1}


def _between(begin: str, end: str, unit_ns: int, missing: bytes) -> Operator:
    return operator_of(
        f"b'%d' % ((end_ns - begin_ns) // {{unit_ns}})"
        f" if 0 < (begin_ns := {begin}) <= (end_ns := {end}) else {{missing}}",
        unit_ns=unit_ns,
        missing=missing,
    )


def _duration(begin: str, end: str) -> Builder:
    def build(argument: Argument) -> Operator:
        refuse_argument(argument)
        return _between(_INSTANTS[begin], _INSTANTS[end], _NS_PER_MS, argument.missing)

    return numeric(build)


def _stream_duration(argument: Argument) -> Operator:
    """From the first byte of the request to the last of the response, or to now while the stream goes on."""
    refuse_argument(argument)
    return operator_of(
        "b'%d' % (((info.end_ns or {now_ns}()) - info.start_ns) // {unit_ns})",
        now_ns=time.monotonic_ns,
        unit_ns=_NS_PER_MS,
    )


def _common_duration(argument: Argument) -> Operator:
    """`COMMON_DURATION(START:END:PRECISION)`: instants this proxy does not know never happened."""
    refuse_length(argument)
    begin, _, rest = (argument.text or "").partition(":")
    end, _, precision = rest.partition(":")
    unit_ns = _PRECISIONS.get(precision or "ms")
    if not begin or not end or unit_ns is None:
        raise ValueError("COMMON_DURATION needs (START:END:PRECISION) with precision ms, us or ns")
    return _between(_INSTANTS.get(begin, _NEVER), _INSTANTS.get(end, _NEVER), unit_ns, argument.missing)


TIME_OPERATORS: Final[Mapping[str, Builder]] = {
    "COMMON_DURATION": numeric(_common_duration),
    "DURATION": numeric(_stream_duration),
    "REQUEST_DURATION": _duration("DS_RX_BEG", "DS_RX_END"),
    "REQUEST_TX_DURATION": _duration("DS_RX_BEG", "US_TX_END"),
    "RESPONSE_DURATION": _duration("DS_RX_BEG", "US_RX_BEG"),
    "RESPONSE_TX_DURATION": _duration("US_RX_BEG", "DS_TX_END"),
    "EMIT_TIME": time_operator(lambda info: time.time()),
    "EMIT_TIME_LOCAL": time_operator(lambda info: time.time(), local=True),
    "START_TIME": _start_time,
    "START_TIME_LOCAL": time_operator(lambda info: info.start_s, local=True),
}
