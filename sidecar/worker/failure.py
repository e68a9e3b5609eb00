"""What escaped from a callback of the event loop."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sidecar.worker.process import Process

logger = logging.getLogger(__name__)


def loop_failure(process: Process) -> Any:
    """For the loop's exception handler: counts a bug, logs it with its traceback; only that connection suffers."""

    def handle(_loop: object, context: dict[str, Any]) -> None:
        process.state.count_bug()
        error = context.get("exception")
        if context.get("known"):
            return
        logger.error("%s", context.get("message", "event loop failure"), exc_info=error)
        transport = context.get("transport")
        if transport is not None:
            with contextlib.suppress(Exception):
                transport.abort()

    return handle
