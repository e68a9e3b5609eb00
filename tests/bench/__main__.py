"""`python -m tests.bench`: measure, print and write `docs/performance.md`. Takes about three minutes; needs a quiet machine."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import pytest

from tests.bench.measure import measure_paths, measure_pod_facts
from tests.bench.report import tables, write
from tests.bench.telemetry import measure_telemetry
from tests.bench.world import BenchWorld
from tests.support.envoy import require_envoy
from tests.support.process import REPOSITORY, sidecar_command


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs" / "performance.md")
    options = parser.parse_args()
    try:
        commands = {"envoy": require_envoy(), "sidecar": sidecar_command()}
        with tempfile.TemporaryDirectory() as name, BenchWorld(Path(name), commands) as world:
            results = measure_paths(
                world,
                repetitions=options.repetitions,
                seconds=options.seconds,
                connections=options.connections,
                tell=lambda line: print(line, flush=True),
            )
            costs = measure_telemetry(
                commands["sidecar"],
                Path(name),
                repetitions=options.repetitions,
                seconds=options.seconds,
                connections=options.connections,
                tell=lambda line: print(line, flush=True),
            )
            facts = {each: measure_pod_facts(command, each, Path(name)) for each, command in commands.items()}
    except pytest.skip.Exception as missing:
        print(missing, file=sys.stderr)
        return 1
    text = tables(results, costs, facts, seconds=options.seconds, connections=options.connections)
    print(f"\n{text}")
    write(options.output, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
