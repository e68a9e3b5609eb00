"""The file of workloads (`path_config_source` of workload discovery): read at start, and again when it changes."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Final

from config.bootstrap import Source
from config.errors import ConfigErrors
from config.model.workload_discovery import DiscoveredWorkload
from config.workload_discovery import parse_workloads
from sidecar.main.start_error import StartError
from sidecar.telemetry.workload_directory import WorkloadDirectory

logger = logging.getLogger(__name__)

#: How often it is looked whether the file has changed.
_LOOK_S: Final = 1.0


class WorkloadFile:
    """Keeps a directory as the file says. A file that is wrong at start is refused; one that gets wrong changes nothing."""

    def __init__(self, path: str, directory: WorkloadDirectory) -> None:
        self._path = path
        self._directory = directory
        self._seen = self._version()

    def load(self) -> None:
        """Raises StartError with every problem."""
        try:
            self._directory.replace(self._read())
        except OSError as error:
            raise StartError([f"{self._path}: {error.strerror}"]) from error
        except ConfigErrors as errors:
            raise StartError(str(errors).splitlines()) from errors

    async def watch(self) -> None:
        """For ever. The file is read in a thread: a long one does not hold up traffic."""
        while True:
            await asyncio.sleep(_LOOK_S)
            version = self._version()
            if version == self._seen:
                continue
            self._seen = version
            try:
                workloads = await asyncio.to_thread(self._read)
            except (OSError, ConfigErrors) as error:
                logger.warning("workloads stay what they are, the file is not usable: %s", error)
                continue
            self._directory.replace(workloads)
            logger.info("%s: %d workloads", self._path, len(workloads))

    def _read(self) -> tuple[DiscoveredWorkload, ...]:
        with open(self._path, encoding="utf-8", errors="surrogateescape") as file:
            return parse_workloads(Source(self._path, file.read()))

    def _version(self) -> tuple[int, ...]:
        """Changes with the file, also when another takes its name (a ConfigMap's link); () when it is not there."""
        try:
            found = os.stat(self._path)
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino
