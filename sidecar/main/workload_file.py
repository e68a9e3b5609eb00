"""The file of workloads (`path_config_source` of workload discovery): read at start, and again when it changes."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Final

from config.errors import ConfigErrors
from sidecar.main.workload_reader import (
    UnusableFileError,
    read_workload_file,
    read_workload_file_elsewhere,
)
from sidecar.worker.start_error import StartError

if TYPE_CHECKING:
    from sidecar.telemetry.workload_directory import Directory

logger = logging.getLogger(__name__)

#: How often it is looked whether the file has changed.
_LOOK_S: Final = 1.0


class WorkloadFile:
    """Keeps a directory as the file says. A file that is wrong at start is refused; one that gets wrong changes nothing."""

    def __init__(self, path: str, directory: Directory) -> None:
        self._path = path
        self._directory = directory
        self._seen = self._version()

    def load(self) -> None:
        """Raises StartError with every problem."""
        try:
            self._directory.replace(read_workload_file(self._path))
        except OSError as error:
            raise StartError([f"{self._path}: {error.strerror}"]) from error
        except ConfigErrors as errors:
            raise StartError(str(errors).splitlines()) from errors

    async def watch(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(_LOOK_S)
            version = self._version()
            if version != self._seen:
                self._seen = version
                await self.reload()

    async def reload(self) -> None:
        """Read the file again. However long it is, traffic goes on meanwhile, and sees the old workloads or the new ones."""
        try:
            workloads = await read_workload_file_elsewhere(self._path)
        except (OSError, UnusableFileError) as error:
            logger.warning("workloads stay what they are, the file is not usable: %s", error)
            return
        count = len(workloads)
        workloads.reverse()  # they are let go of one by one, in their order: to free all of them at the end would take long
        for _ in self._directory.replace_in_steps(workloads.pop() for _ in range(count)):
            await asyncio.sleep(0)
        logger.info("%s: %d workloads", self._path, count)

    def _version(self) -> tuple[int, ...]:
        """Changes with the file, also when another takes its name (a ConfigMap's link); () when it is not there."""
        try:
            found = os.stat(self._path)
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino
