"""`python -m tests.bench`: measure, print, and write `docs/performance.json` and the tables of `docs/performance.md`.

Needs a quiet machine, and takes less than ten minutes, together with compiling (`native_tree`): what a target is for is measured
in `--repetitions` of `--seconds`. On the paths of the first tables the pure variant, whose ratio only stands beside it, is measured
once less, for a second at most; HAProxy, nginx and the direct way once, for a second. Each of the many points of the telemetry and
workers tables takes half of the seconds, and pure has one repetition less of them. A pair and the start are measured as often
for all; memory and what else a pod pays, once. Beneath the tables it says for each row how much it was (`amounts`). What `--only`
leaves out stays as it was measured last, and so does a row that fails.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest

from tests.bench import facts, ours, results, rows
from tests.bench.amounts import Amount
from tests.bench.measure import measure_row
from tests.bench.pair import measure_pair
from tests.bench.report import tables, write
from tests.bench.results import Samples
from tests.bench.rows import ROWS
from tests.bench.telemetry import measure_telemetry
from tests.bench.workers import measure_workers
from tests.bench.world import Backends, BenchWorld
from tests.support.certificates import Mesh
from tests.support.process import REPOSITORY

Job = Callable[[], Samples]

_KEYS = (*(row.key for row in ROWS), *rows.OTHERS)


def _tell(line: str) -> None:
    print(line, flush=True)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--connections", type=int, default=16)
    names = ", ".join(_KEYS)
    parser.add_argument("--only", metavar="PATTERN", help=f"a regular expression; the rows are {names}")
    parser.add_argument(
        "--output", type=Path, default=REPOSITORY / "docs" / "performance.md", help="beside it: .json"
    )
    return parser.parse_args(arguments)


def _asked(options: argparse.Namespace) -> Amount:
    return Amount(options.repetitions, options.seconds, options.connections)


def _jobs(options: argparse.Namespace, directory: Path, commands: ours.Commands) -> Iterator[tuple[str, Job]]:
    """Every chosen row with what measures it, to be called before the next one is asked for."""
    mesh = Mesh(directory)
    asked = _asked(options)
    amounts = {key: {**asdict(asked.of(key)), "tell": _tell} for key in _KEYS}
    with ExitStack() as stack:
        backends = stack.enter_context(Backends(directory, mesh))
        http_port = backends.ports["http"]
        facts.start_once(commands, directory, mesh, http_port)
        chosen = [row for row in ROWS if rows.chosen([row.key], options.only)]
        if chosen:
            with BenchWorld(directory, mesh, backends, commands) as world:
                for row in chosen:
                    yield row.key, partial(measure_row, world, row, **amounts[row.key])
        jobs: dict[str, Job] = {
            rows.TELEMETRY: partial(measure_telemetry, commands, directory, **amounts[rows.TELEMETRY]),
            rows.TELEMETRY_PACED: partial(
                measure_telemetry,
                commands,
                directory,
                per_second=rows.PACED_PER_SECOND,
                **amounts[rows.TELEMETRY_PACED],
            ),
            rows.WORKERS: partial(measure_workers, commands, directory, **amounts[rows.WORKERS]),
            rows.PAIR: partial(
                measure_pair,
                commands,
                directory,
                mesh,
                http_port,
                repetitions=asked.repetitions,
                seconds=asked.seconds,
                tell=_tell,
            ),
            rows.START: partial(facts.measure_start, commands, directory, mesh, http_port, asked.repetitions),
            rows.POD: lambda: {name: facts.measure_pod(each, directory) for name, each in commands.items()},
            rows.MEMORY: lambda: {
                name: facts.measure_memory(each, directory, http_port) for name, each in commands.items()
            },
            rows.TLS_CONNECTIONS: lambda: {
                name: facts.measure_tls_connections(each, directory, mesh) for name, each in commands.items()
            },
        }
        for key in rows.chosen(rows.OTHERS, options.only):
            yield key, jobs[key]


def _measure(options: argparse.Namespace) -> list[str]:
    """Into the files, each row when it is done: an interruption loses only what is under way. The rows that failed."""
    stored = options.output.with_suffix(".json")
    found = results.read(stored)
    programs = ours.programs(_tell)
    began = time.monotonic()
    failed = []
    with tempfile.TemporaryDirectory() as name:
        for key, job in _jobs(options, Path(name), programs.commands):
            _tell(f"{key} ... (after {time.monotonic() - began:.0f} s)")
            try:
                samples = job()
            except Exception:  # one row is not worth the others
                traceback.print_exc()
                failed.append(key)
                continue
            how = results.setting(_asked(options).words(key), programs.not_compiled)
            found[key] = results.Result(how, samples)
            results.write(stored, found)
            write(options.output, tables(results.read(stored)))  # rounded as they are kept
    return failed


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    began = time.monotonic()
    try:
        failed = _measure(options)
    except pytest.skip.Exception as missing:
        print(missing, file=sys.stderr)
        return 1
    print(f"\n{tables(results.read(options.output.with_suffix('.json')))}")
    _tell(f"\nafter {time.monotonic() - began:.0f} s")
    if failed:
        print(f"failed, and left as they were: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was started is ended
    sys.exit(main())
