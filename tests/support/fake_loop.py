"""An event loop whose turns the test makes."""

from __future__ import annotations

from collections.abc import Callable


class FakeLoop:
    """What was called soon waits for `turn`."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def turn(self) -> bool:
        """One turn of the loop; False if there was nothing to do."""
        due, self.soon = self.soon, []
        for callback in due:
            callback()
        return bool(due)
