"""What is counted of each response: by its code, its class and the time that it took; made when first counted, as in Envoy."""

from __future__ import annotations

from typing import Final

from stats.metrics import Counter, Histogram
from stats.store import Scope


class ResponseCodes:
    """`<prefix>_<code>`, `<prefix>_<class>` and `<prefix>_completed`, made when they are first counted, as in Envoy."""

    __slots__ = ("_codes", "_completed", "_prefix", "_scope")

    def __init__(self, scope: Scope, prefix: str = "upstream_rq", completed: Counter | None = None) -> None:
        """`completed`: the counter of all, if it exists from the start."""
        self._scope = scope
        self._prefix = prefix
        self._completed = completed
        self._codes: list[tuple[Counter, Counter] | None] = [None] * 600

    def count(self, code: int) -> None:
        """One response. `code` outside 100 to 599 counts as completed only, as in Envoy."""
        if not 100 <= code < 600:
            self._count_completed()
            return
        pair = self._codes[code]
        if pair is None:
            pair = (
                self._scope.counter(f"{self._prefix}_{code}"),
                self._scope.counter(f"{self._prefix}_{code // 100}xx"),
            )
            self._codes[code] = pair
        self._count_completed()
        pair[0].inc()
        pair[1].inc()

    def _count_completed(self) -> None:
        completed = self._completed
        if completed is None:
            completed = self._completed = self._scope.counter(f"{self._prefix}_completed")
        completed.inc()


class UpstreamResponseStats:
    """`upstream_rq_<code>`, `_<class>`, `_completed` and `upstream_rq_time` of one scope, made when first counted.

    Scopes: `cluster.<name>` and there `external`, `internal`, `canary`, `zone.<from>.<to>`; virtual clusters; routes.
    """

    __slots__ = ("_codes", "_scope", "_time")

    def __init__(self, scope: Scope, completed: Counter | None = None) -> None:
        self._scope = scope
        self._codes = ResponseCodes(scope, "upstream_rq", completed)
        self._time: Histogram | None = None

    def count(self, code: int) -> None:
        """A response, or a failure that counts as one, came from upstream."""
        self._codes.count(code)

    def record_time(self, time_ms: int) -> None:
        """From the end of the request to the end of the response."""
        if self._time is None:
            self._time = self._scope.histogram("upstream_rq_time", "ms")
        self._time.record_whole(time_ms)


class ClusterResponses:
    """Responses of a cluster: all of them, and those to requests from outside or from inside (`x-envoy-internal`)."""

    __slots__ = ("_external", "_internal", "_whole")

    def __init__(
        self, whole: UpstreamResponseStats, external: UpstreamResponseStats, internal: UpstreamResponseStats
    ) -> None:
        self._whole: Final = whole
        self._external: Final = external
        self._internal: Final = internal

    def count(self, code: int, internal: bool = False) -> None:
        """Envoy's chargeResponseStat."""
        self._whole.count(code)
        (self._internal if internal else self._external).count(code)

    def record_time(self, time_ms: int, internal: bool = False) -> None:
        """Envoy's chargeResponseTiming."""
        self._whole.record_time(time_ms)
        (self._internal if internal else self._external).record_time(time_ms)
