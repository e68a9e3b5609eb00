"""`python -m sidecar.worker DESCRIPTOR`: one of several workers. Only main starts it, with one end of a pair of sockets."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Exit code 0 after an orderly end, 1 when it could not start."""
    gc.disable()  # while the modules are loaded, too; sidecar.worker.garbage turns it on
    from sidecar.worker.run import run

    sys.exit(run(int(sys.argv[1])))


if __name__ == "__main__":
    main()
