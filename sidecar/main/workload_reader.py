"""Reads the file of workloads in a process of its own: `python -m sidecar.main.workload_reader PATH`.

A large file takes seconds to parse, and a thread that does it takes them from the loop. What this process writes is frames
(length in 4 bytes, JSON): lists of at most `WORKLOADS_A_FRAME` workloads, then `null`; or one text, why the file is not usable.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from typing import Final

from config.errors import ConfigErrors
from config.model.workload_discovery import DiscoveredWorkload
from config.proto.document import Source
from config.workload_discovery import parse_workloads

WORKLOADS_A_FRAME: Final = 50
_LENGTH_BYTES: Final = 4
#: Traffic comes first.
_NICENESS: Final = 10


class UnusableFileError(Exception):
    """The file cannot be read or has mistakes; the text has all of them."""


def read_workload_file(path: str) -> tuple[DiscoveredWorkload, ...]:
    """Here and now. Raises OSError, and ConfigErrors with every problem."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return parse_workloads(Source(path, file.read()))


async def read_workload_file_elsewhere(path: str) -> list[DiscoveredWorkload]:
    """As `read_workload_file`, in another process. Raises UnusableFileError, OSError when there can be no such process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, path),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(each or os.getcwd() for each in sys.path)},
        start_new_session=True,  # the terminal's Ctrl-C is for the proxy, which ends this process itself
    )
    assert process.stdout is not None
    try:
        return await _receive(process.stdout)
    except asyncio.IncompleteReadError as error:
        raise UnusableFileError(f"its reader ended with {await process.wait()}") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _receive(stream: asyncio.StreamReader) -> list[DiscoveredWorkload]:
    workloads: list[DiscoveredWorkload] = []
    while True:
        length = int.from_bytes(await stream.readexactly(_LENGTH_BYTES), "big")
        frame = json.loads(await stream.readexactly(length))
        if frame is None:
            return workloads
        if isinstance(frame, str):
            raise UnusableFileError(frame)
        workloads += [
            DiscoveredWorkload(uid, name, tuple(map(bytes.fromhex, addresses)), *rest)
            for uid, name, addresses, *rest in frame
        ]
        await asyncio.sleep(0)  # what has arrived already is read without a pause


def _frames(path: str) -> Iterator[object]:
    try:
        workloads = read_workload_file(path)
    except OSError as error:
        yield str(error)
        return
    except ConfigErrors as errors:
        yield str(errors)
        return
    for start in range(0, len(workloads), WORKLOADS_A_FRAME):
        yield [_row(each) for each in workloads[start : start + WORKLOADS_A_FRAME]]
    yield None


def _row(workload: DiscoveredWorkload) -> list[object]:
    uid, name, addresses, *rest = dataclasses.astuple(workload)
    return [uid, name, [each.hex() for each in addresses], *rest]


def main(path: str) -> None:
    os.nice(_NICENESS)
    for frame in _frames(path):
        data = json.dumps(frame).encode()
        sys.stdout.buffer.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1])
