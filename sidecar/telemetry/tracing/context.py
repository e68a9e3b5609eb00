"""What tracers need of the process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from config.model.core import Node
    from sidecar.transport.async_client import AsyncClient
    from sidecar.transport.timers import Timers
    from stats.store import Scope


@dataclass(frozen=True, slots=True)
class TracerContext:
    """`scope` is the root scope, `environ` the environment of the process."""

    async_client: AsyncClient
    timers: Timers
    scope: Scope
    node: Node
    local_address: str
    runtime: Mapping[str, object] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)

    def number(self, key: str, default: int) -> int:
        """A positive whole number of the runtime."""
        try:
            value = int(str(self.runtime.get(key, default)).removesuffix(".0"))
        except ValueError:
            return default
        return value if value > 0 else default
