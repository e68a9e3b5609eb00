"""When series that nobody uses are taken off the list.

- `stats_eviction_interval` of the bootstrap (Istio 1.28): what was untouched for a whole interval goes.
- Without it, a filter's `rotation_interval` and `graceful_deletion_interval` (Istio until 1.24): every interval all series
  are as good as new, and what nobody has used in the graceful time after that goes. What is in use counts on.
- Without either: what was untouched for a default interval goes.

A series that comes again begins at 0, as after a restart. Whoever drives this tells the time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from stats.store import Scope, Store


class Expiry:
    """For the evictable scopes of a store. Times are seconds on any one clock; `begin_s` is now."""

    def __init__(
        self, store: Store, begin_s: float, eviction_interval_s: float | None, default_interval_s: float
    ) -> None:
        """`eviction_interval_s` None: rotations of scopes count, and `default_interval_s` (0: never) for the rest."""
        self._store = store
        self._rotates = eviction_interval_s is None
        self._interval_s = (
            default_interval_s if eviction_interval_s is None else eviction_interval_s
        ) or math.inf
        self._sweep_at_s = begin_s + self._interval_s
        #: scope -> (when it rotates, when what was not used since then goes)
        self._rotations: dict[Scope, tuple[float, float]] = {}

    def due(self, now_s: float) -> Iterator[None]:
        """Do what is due, some of it at each step, so that a loop can do other work in between."""
        scopes = self._store.evictable
        rotating = [scope for scope in scopes if self._rotates and scope.rotation is not None]
        self._rotations = {scope: self._begin(scope, now_s) for scope in rotating}
        for scope in rotating:
            yield from self._rotate(scope, now_s)
        if now_s >= self._sweep_at_s:
            self._sweep_at_s = now_s + self._interval_s
            for scope in scopes:
                if scope not in self._rotations:
                    yield from scope.sweep()

    def _begin(self, scope: Scope, now_s: float) -> tuple[float, float]:
        known = self._rotations.get(scope)
        if known is not None or scope.rotation is None:
            return known or (math.inf, math.inf)
        return now_s + scope.rotation.interval_s, math.inf

    def _rotate(self, scope: Scope, now_s: float) -> Iterator[None]:
        rotation = scope.rotation
        assert rotation is not None, "it is on the list of those that have one"
        rotate_at_s, evict_at_s = self._rotations[scope]
        if now_s >= evict_at_s:
            evict_at_s = math.inf
            yield from scope.sweep()
        if now_s >= rotate_at_s:
            rotate_at_s, evict_at_s = now_s + rotation.interval_s, now_s + rotation.graceful_s
            scope.forget_use()
        self._rotations[scope] = rotate_at_s, evict_at_s
