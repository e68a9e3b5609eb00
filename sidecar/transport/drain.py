"""Whether the process, or one direction of it, is draining: what makes answers carry `connection: close`."""

from __future__ import annotations

from collections.abc import Callable

from config.model.core import TrafficDirection


class DrainState:
    """Shared by all connection managers. `drain_close` is asked once for each response head.

    With the gradual strategy (Envoy's default) the chance of closing grows from 0 to 1 over the drain time; with the
    immediate one it is 1 at once. `/healthcheck/fail` makes it 1 as well.
    """

    __slots__ = ("_chance", "_directions", "health_check_failed")

    def __init__(self) -> None:
        self.health_check_failed = False
        self._directions: frozenset[TrafficDirection] = frozenset()
        self._chance: Callable[[], bool] = _always

    def begin(
        self, directions: frozenset[TrafficDirection], chance: Callable[[], bool] | None = None
    ) -> None:
        """Drain listeners of these directions; `chance` says for each answer whether to close now."""
        self._directions = self._directions | directions
        self._chance = chance or _always

    def is_draining(self, direction: TrafficDirection) -> bool:
        return direction in self._directions

    def drain_close(self, direction: TrafficDirection) -> bool:
        if self.health_check_failed:
            return True
        return bool(self._directions) and direction in self._directions and self._chance()


def _always() -> bool:
    return True
