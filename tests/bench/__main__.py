"""`python -m tests.bench`: measure, print, and write `docs/performance.json` and the tables of `docs/performance.md`.

Takes less than ten minutes and needs a quiet machine. What `--only` leaves out stays as it was measured last.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.bench import facts, results, rows
from tests.bench.measure import measure_row
from tests.bench.pair import measure_pair
from tests.bench.report import tables, write
from tests.bench.results import Samples
from tests.bench.rows import ENVOY, ROWS, SIDECAR
from tests.bench.telemetry import measure_telemetry
from tests.bench.world import Backends, BenchWorld
from tests.support.certificates import Mesh
from tests.support.envoy import require_envoy
from tests.support.process import REPOSITORY, sidecar_command


def _tell(line: str) -> None:
    print(line, flush=True)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", type=int, default=16)
    names = ", ".join([*(row.key for row in ROWS), *rows.OTHERS])
    parser.add_argument("--only", metavar="PATTERN", help=f"a regular expression; the rows are {names}")
    parser.add_argument(
        "--output", type=Path, default=REPOSITORY / "docs" / "performance.md", help="beside it: .json"
    )
    return parser.parse_args(arguments)


def _measure(options: argparse.Namespace, directory: Path) -> Iterator[tuple[str, Samples]]:
    """Every chosen row with its samples, as soon as it is measured."""
    commands = {ENVOY: require_envoy(), SIDECAR: sidecar_command()}
    mesh = Mesh(directory)
    amount = {"repetitions": options.repetitions, "seconds": options.seconds}
    with ExitStack() as stack:
        backends = stack.enter_context(Backends(directory, mesh))
        http_port = backends.ports["http"]
        chosen = [row for row in ROWS if rows.chosen([row.key], options.only)]
        if chosen:
            with BenchWorld(directory, mesh, backends, commands) as world:
                for row in chosen:
                    found = measure_row(world, row, connections=options.connections, tell=_tell, **amount)
                    yield row.key, found
        for key in rows.chosen(rows.OTHERS, options.only):
            _tell(f"{key} ...")
            if key == rows.TELEMETRY:
                yield (
                    key,
                    measure_telemetry(
                        commands[SIDECAR], directory, connections=options.connections, tell=_tell, **amount
                    ),
                )
            elif key == rows.PAIR:
                yield key, measure_pair(commands, directory, mesh, http_port, tell=_tell, **amount)
            elif key == rows.START:
                yield key, facts.measure_start(commands, directory, mesh, http_port, options.repetitions)
            elif key == rows.POD:
                yield key, {name: facts.measure_pod(each, directory) for name, each in commands.items()}
            elif key == rows.MEMORY:
                yield (
                    key,
                    {
                        name: facts.measure_memory(each, directory, http_port)
                        for name, each in commands.items()
                    },
                )
            else:
                yield (
                    key,
                    {
                        name: facts.measure_tls_connections(each, directory, mesh)
                        for name, each in commands.items()
                    },
                )


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    stored = options.output.with_suffix(".json")
    found = results.read(stored)
    how = results.setting(
        repetitions=options.repetitions, seconds=options.seconds, connections=options.connections
    )
    try:
        with tempfile.TemporaryDirectory() as name:
            for key, samples in _measure(options, Path(name)):
                found[key] = results.Result(how, samples)
                results.write(stored, found)  # an interruption loses only what is under way
    except pytest.skip.Exception as missing:
        print(missing, file=sys.stderr)
        return 1
    text = tables(results.read(stored))  # rounded as they are kept
    print(f"\n{text}")
    write(options.output, text)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was started is ended
    sys.exit(main())
