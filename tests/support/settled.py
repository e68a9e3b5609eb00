"""What an access log may read later of a request that has ended is what it was at the end: watched wherever logs are recorded."""

from __future__ import annotations

from typing import Final

from sidecar.stream_info import StreamInfo
from sidecar.telemetry.access_log.operator import Argument, Operator
from sidecar.telemetry.access_log.operators import FORMATTERS, OPERATORS, build_operator
from sidecar.telemetry.access_log.schedule import LogType

#: What the operators that need an argument are asked for.
_ARGUMENTS: Final = {
    "COMMON_DURATION": ("DS_RX_BEG:DS_TX_END:ns", "DS_RX_BEG:US_RX_END:ns", "US_TX_BEG:US_TX_END:ns"),
    "REQ": (
        ":path",
        ":authority",
        "x-request-id",
        "user-agent",
        "x-forwarded-for",
        "x-envoy-original-path?:path",
    ),
    "REQ_WITHOUT_QUERY": (":path",),
    "RESP": (":status", "content-type", "x-envoy-upstream-service-time", "server"),
    "TRAILER": ("grpc-status",),
    "QUERY_PARAM": ("a",),
    "COALESCE": ('{"operators": ["PROTOCOL"]}',),
}


def settled_operators() -> list[tuple[str, Operator]]:
    """All that say so of themselves, with what they are called."""
    found: list[tuple[str, Operator]] = []
    for name in OPERATORS:
        for text in _ARGUMENTS.get(name, (None,)):
            try:
                operator = build_operator(name, Argument(text, None, b"-"), tuple(FORMATTERS.values()))
            except ValueError:  # it needs an argument, and is never settled
                continue
            if operator.settled:
                found.append((f"{name}({text or ''})", operator))
    return found


class SettledWatch:
    """Of all requests that have ended: what the settled operators printed then."""

    def __init__(self) -> None:
        self._operators = settled_operators()
        self._ended: list[tuple[StreamInfo, list[bytes]]] = []

    def note(self, info: StreamInfo) -> None:
        if info.log_type == LogType.DOWNSTREAM_END:
            self._ended.append((info, [operator.read(info) for _, operator in self._operators]))

    def check(self) -> None:
        """Raises AssertionError when one of them prints something else now."""
        ended, self._ended = self._ended, []
        for info, values in ended:
            for (name, operator), then in zip(self._operators, values, strict=True):
                now = operator.read(info)
                assert now == then, (
                    f"{name} is not settled: it was {then!r} at the end, and now it is {now!r}"
                )


#: Of this test; the fixture `settled_values` checks it.
WATCH: Final = SettledWatch()
