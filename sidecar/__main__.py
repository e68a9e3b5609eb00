"""`sidecar-proxy`, also `python -m sidecar`: Envoy's command line in front of `sidecar.main`."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Exit code 0 after a clean end, 1 for anything wrong with configuration, options or addresses."""
    gc.disable()  # while the modules are loaded, too; sidecar.worker.garbage turns it on
    from sidecar.main.run import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
