"""Which part of the work a process does: all of it, that of main, or that of one of several workers."""

from __future__ import annotations

from typing import Final

import msgspec


class Part(msgspec.Struct, frozen=True):
    """`concurrency`: number of workers. `worker`: which of them this process is; None: main, which serves nobody itself."""

    concurrency: int = 1
    worker: int | None = 0

    @property
    def is_main(self) -> bool:
        """Whether it has the admin server and what else there is once."""
        return self.worker is None or self.concurrency == 1


#: One process is both.
ALONE: Final = Part()
