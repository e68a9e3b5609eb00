"""All access logs of the process: shared files, flushing, reopening, and what is counted."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, cast

import pytest

from config.model.access_log import FileAccessLogSpec, FilteredAccessLogSpec, TextFormat
from config.model.access_log_filter import ResponseFlagFilter
from config.model.core import Node, SocketAddress
from sidecar.stream_info import ConnectionInfo, ResponseFlag, StreamInfo
from sidecar.telemetry.access_log.filters import FilterCompiler
from sidecar.telemetry.access_log.format import FormatError
from sidecar.telemetry.access_log.schedule import LogType
from sidecar.transport.timers import Timers
from sidecar.worker.access_logs import AccessLogs
from stats.store import Store
from tests.support.process import wait_until
from tests.support.upstream import ManualLoop


class World:
    def __init__(self, flush_at_bytes: int = 64 * 1024) -> None:
        self.loop = ManualLoop()
        self.store = Store()
        self.logs = AccessLogs(
            self.store.root,
            self.loop.as_loop(),
            Timers(self.loop.as_loop()),
            FilterCompiler({}, random.Random(1), Node()),
            Node(),
            flush_interval_s=1.0,
            flush_at_bytes=flush_at_bytes,
        )

    def log(
        self,
        path: Path,
        text: str = "%BYTES_SENT%\n",
        size: int = 5,
        log_type: str = LogType.TCP_CONNECTION_END,
    ) -> None:
        info = StreamInfo(ConnectionInfo(SocketAddress("1.1.1.1", 1), SocketAddress("2.2.2.2", 2)), 0.0, 0)
        info.bytes_sent = size
        info.log_type = log_type
        self.logs.get(FileAccessLogSpec(str(path), TextFormat(text))).log(cast("Any", info))

    def settle(self) -> None:
        """Until the threads of the files have written what they were given."""

        def settled() -> bool:
            self.logs.refresh()
            return self.value("write_total_buffered") == 0

        wait_until(settled, timeout_s=5, what="everything written")

    def value(self, name: str) -> int:
        stat = self.store.find(f"filesystem.{name}")
        return cast("Any", stat).value  # type: ignore[no-any-return]


def test_entries_wait_for_the_timer(tmp_path: Path) -> None:
    world, path = World(), tmp_path / "log"
    world.log(path)
    world.logs.start()
    assert path.read_text() == ""
    world.loop.advance(1.1)
    world.settle()
    assert path.read_text() == "5\n"
    assert [world.value(name) for name in ("write_buffered", "write_completed", "flushed_by_timer")] == [
        1,
        1,
        1,
    ]
    world.loop.advance(5)
    assert world.value("flushed_by_timer") == 1  # nothing to flush
    world.log(path)
    world.loop.advance(1.1)
    world.settle()
    assert path.read_text() == "5\n5\n"
    world.logs.close()


def test_a_look_at_the_statistics_finds_all_requests_that_have_ended(tmp_path: Path) -> None:
    world = World()
    world.log(tmp_path / "log", log_type=LogType.DOWNSTREAM_END)
    assert world.value("write_buffered") == 0
    world.logs.refresh()
    assert (world.value("write_buffered"), world.value("write_total_buffered")) == (1, 2)
    world.logs.close()


def test_what_a_file_does_not_take_is_counted(tmp_path: Path) -> None:
    world = World()
    world.log(Path("/dev/full"))
    world.log(tmp_path / "log")
    world.logs.close()
    assert world.value("write_failed") == 1
    stat = world.store.find("access_logs.file_access_log.logs_dropped_total")
    assert cast("Any", stat).value == 1
    assert World().store.find("access_logs.file_access_log.logs_dropped_total") is None


def test_much_is_written_at_once(tmp_path: Path) -> None:
    world, path = World(flush_at_bytes=10), tmp_path / "log"
    for _ in range(4):
        world.log(path)
    assert path.read_text() == ""
    world.log(path)
    world.settle()
    assert path.read_text() == "5\n" * 5
    world.logs.close()


def test_one_file_for_one_path(tmp_path: Path) -> None:
    world, path = World(), tmp_path / "log"
    world.log(path, "a %BYTES_SENT%\n")
    world.log(path, "b %BYTES_SENT%\n")
    world.log(path, "a %BYTES_SENT%\n")
    world.logs.close()
    assert path.read_text() == "a 5\nb 5\na 5\n"


def test_reopen(tmp_path: Path) -> None:
    world, path = World(), tmp_path / "log"
    world.log(path, size=1)
    path.rename(tmp_path / "old")
    world.logs.reopen()
    world.log(path, size=2)
    world.logs.close()
    assert ((tmp_path / "old").read_text(), path.read_text()) == ("1\n", "2\n")


def test_reopen_that_fails(tmp_path: Path) -> None:
    world, directory = World(), tmp_path / "logs"
    directory.mkdir()
    world.log(directory / "log")
    directory.rename(tmp_path / "moved")
    world.logs.reopen()
    world.logs.close()
    assert world.value("reopen_failed") == 1
    assert (tmp_path / "moved" / "log").read_text() == "5\n"


def test_close_stops_the_timer(tmp_path: Path) -> None:
    world = World()
    world.log(tmp_path / "log")
    world.logs.start()
    world.logs.close()
    world.loop.advance(10)
    assert world.value("flushed_by_timer") == 0


def test_what_cannot_be_logged(tmp_path: Path) -> None:
    world = World()
    with pytest.raises(OSError, match="no-such"):
        world.log(tmp_path / "no-such" / "log")
    with pytest.raises(FormatError):
        world.log(tmp_path / "log", "%NO_SUCH_OPERATOR%")


def test_a_filtered_log_gets_what_its_filter_lets_through(tmp_path: Path) -> None:
    world, path = World(), tmp_path / "log"
    log = FileAccessLogSpec(str(path), TextFormat("%RESPONSE_FLAGS%\n"))
    access_logger = world.logs.get(FilteredAccessLogSpec(log, ResponseFlagFilter(("UF",))))
    for flag in (0, ResponseFlag.UPSTREAM_CONNECTION_FAILURE, ResponseFlag.NO_ROUTE_FOUND):
        info = StreamInfo(ConnectionInfo(SocketAddress("1.1.1.1", 1), SocketAddress("2.2.2.2", 2)), 0.0, 0)
        info.add_flag(flag)
        access_logger.log(info)
    world.logs.close()
    assert path.read_text() == "UF\n"


def test_files_that_cannot_be_opened_are_noted_once(tmp_path: Path) -> None:
    """The rest is built all the same, so that all problems are found."""
    logs = World().logs
    missing = FileAccessLogSpec(str(tmp_path / "no" / "log"), TextFormat("x"))
    for spec in (missing, FileAccessLogSpec(str(tmp_path), TextFormat("x")), missing):
        logs.get_noting(spec).flush()
    assert logs.take_problems() == [
        f"{tmp_path / 'no' / 'log'}: No such file or directory",
        f"{tmp_path}: Is a directory",
    ]
    assert logs.take_problems() == []
