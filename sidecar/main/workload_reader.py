"""Reads the file of workloads in a process of its own: `python -m sidecar.main.workload_reader PATH`.

A large file takes seconds to parse, and a thread that does it takes them from the loop. What this process writes is frames
(length in 4 bytes, JSON): lists of at most `WORKLOADS_A_FRAME` workloads, then `null`; or one text, why the file is not usable.
It has a limited time and says a limited amount: whatever the file is like, the proxy goes on with what it knew.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Final

from msgspec import structs

from config.errors import ConfigErrors
from config.model.workload_discovery import DiscoveredWorkload
from config.proto.document import Source
from config.workload_discovery import parse_workloads
from sidecar.main import own_program

WORKLOADS_A_FRAME: Final = 50
_LENGTH_BYTES: Final = 4
#: A workload has some 300 bytes.
_MAX_FRAME_BYTES: Final = 1024 * 1024
_MAX_WORKLOADS: Final = 200_000
#: Some hundred times what 20,000 workloads take, because other processes come first.
_TIME_LIMIT_S: Final = 120.0
#: Problems that are told; a long file with the same mistake in every line would make a long line in the log.
_MAX_PROBLEMS: Final = 5
_MAX_PROBLEM_LENGTH: Final = 500
#: Traffic comes first.
_NICENESS: Final = 10


class UnusableFileError(Exception):
    """The file cannot be read or has mistakes; the text, one line, has the first of them."""


def read_workload_file(path: str) -> tuple[DiscoveredWorkload, ...]:
    """Here and now. Raises OSError, and ConfigErrors with every problem."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return parse_workloads(Source(path, file.read()))


async def read_workload_file_elsewhere(
    path: str, time_limit_s: float = _TIME_LIMIT_S
) -> list[DiscoveredWorkload]:
    """As `read_workload_file`, in another process. Raises UnusableFileError, OSError when there can be no such process."""
    process = await asyncio.create_subprocess_exec(
        *own_program.command(__name__, path),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env=own_program.environment(),
        start_new_session=True,  # the terminal's Ctrl-C is for the proxy, which ends this process itself
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(time_limit_s):
            return await _receive(process.stdout)
    except TimeoutError as error:
        raise UnusableFileError(f"{path}: to read it takes longer than {time_limit_s:g} s") from error
    except asyncio.IncompleteReadError as error:
        raise UnusableFileError(f"{path}: its reader ended with {await process.wait()}") from error
    except (ValueError, TypeError) as error:
        raise UnusableFileError(f"{path}: its reader says what is not understood: {error}") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _receive(stream: asyncio.StreamReader) -> list[DiscoveredWorkload]:
    workloads: list[DiscoveredWorkload] = []
    while True:
        length = int.from_bytes(await stream.readexactly(_LENGTH_BYTES), "big")
        if length > _MAX_FRAME_BYTES:
            raise ValueError(f"{length} bytes at once")
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
        yield f"{path}: {error.strerror}"
        return
    except ConfigErrors as errors:
        yield _one_line(errors)
        return
    except (MemoryError, RecursionError) as error:
        yield f"{path}: {type(error).__name__}"
        return
    if len(workloads) > _MAX_WORKLOADS:
        yield f"{path}: {len(workloads)} workloads, at most {_MAX_WORKLOADS} are read while traffic goes on"
        return
    for start in range(0, len(workloads), WORKLOADS_A_FRAME):
        yield [_row(each) for each in workloads[start : start + WORKLOADS_A_FRAME]]
    yield None


def _one_line(errors: ConfigErrors) -> str:
    told = [str(each).replace("\n", " ")[:_MAX_PROBLEM_LENGTH] for each in errors.errors[:_MAX_PROBLEMS]]
    rest = len(errors.errors) - len(told)
    return "; ".join([*told, f"and {rest} more"] if rest else told)


def _row(workload: DiscoveredWorkload) -> list[object]:
    uid, name, addresses, *rest = structs.astuple(workload)
    return [uid, name, [each.hex() for each in addresses], *rest]


def main(path: str) -> None:
    os.nice(_NICENESS)
    for frame in _frames(path):
        data = json.dumps(frame).encode()
        sys.stdout.buffer.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1])
