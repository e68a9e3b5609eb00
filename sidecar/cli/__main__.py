"""`python -m sidecar.cli`: the same as `sidecar`."""

from sidecar.cli import main

if __name__ == "__main__":
    main()
