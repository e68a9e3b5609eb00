"""Entries of requests that have ended: their lines are made together, in the order in which they came."""

from __future__ import annotations

from pathlib import Path

from sidecar.stream_info import StreamInfo
from sidecar.telemetry.access_log.file import LINES_TOGETHER, FileAccessLogger, LogFile
from sidecar.telemetry.access_log.format import compile_format
from sidecar.telemetry.access_log.operator import Reading
from sidecar.telemetry.access_log.renderer import Verbatim
from sidecar.telemetry.access_log.schedule import LogType
from tests.unit.sidecar.telemetry.access_log.log_files import Files
from tests.unit.sidecar.telemetry.access_log.streams import proxied as http_stream


def ended(code: int) -> StreamInfo:
    info = http_stream()
    info.response_code = code
    info.log_type = LogType.DOWNSTREAM_END
    return info


def read_by(file: LogFile, path: Path) -> str:
    file.close()
    return path.read_text()


def test_lines_are_made_when_there_are_many(path: Path, file: LogFile) -> None:
    log = FileAccessLogger(file, compile_format("%RESPONSE_CODE%\n"))
    for number in range(LINES_TOGETHER - 1):
        log.log(ended(number))
    assert file.entries == 0
    log.log(ended(LINES_TOGETHER - 1))
    assert file.entries == LINES_TOGETHER
    assert file.waiting_bytes == sum(len(f"{number}\n") for number in range(LINES_TOGETHER))
    assert read_by(file, path) == "".join(f"{number}\n" for number in range(LINES_TOGETHER))


def test_the_order_stays_whoever_writes(path: Path, file: LogFile) -> None:
    one = FileAccessLogger(file, compile_format("one %RESPONSE_CODE%\n"))
    other = FileAccessLogger(file, compile_format("other %RESPONSE_CODE%\n"))
    one.log(ended(1))
    other.log(ended(2))
    running = http_stream()  # goes on: its entry is made at once
    running.response_code = 3
    running.log_type = LogType.DOWNSTREAM_PERIODIC
    one.log(running)
    running.response_code = 4
    other.log(ended(5))
    assert file.entries == 3
    assert read_by(file, path) == "one 1\nother 2\none 3\nother 5\n"


def test_the_flush_does_not_leave_them_out(path: Path, file: LogFile, files: Files) -> None:
    log = FileAccessLogger(file, compile_format("%RESPONSE_CODE%\n"))
    log.log(ended(1))
    assert file.flush()
    files.settle(file)
    assert path.read_text() == "1\n"


def test_after_rotation_what_was_before_is_in_the_old_file(path: Path, file: LogFile, files: Files) -> None:
    log = FileAccessLogger(file, compile_format("%RESPONSE_CODE%\n"))
    log.log(ended(1))
    rotated = path.rename(path.with_suffix(".1"))
    file.reopen()
    log.log(ended(2))
    assert read_by(file, path) == "2\n"
    assert rotated.read_text() == "1\n"


def test_an_entry_that_cannot_be_made_costs_no_other(path: Path, file: LogFile, files: Files) -> None:
    """It is told as a failure of the log, which counts it, and logs the first one of each."""
    told: list[tuple[str, bool]] = []
    files.loop.set_exception_handler(
        lambda loop, context: told.append((str(context["exception"]), context["known"]))
    )

    def failing(message: str) -> Verbatim:
        def fail(info: StreamInfo) -> bytes:
            raise ValueError(message)

        return Verbatim(Reading(fail, settled=True))

    good = FileAccessLogger(file, compile_format("%RESPONSE_CODE%\n"))
    bad = FileAccessLogger(file, failing("not this one"))
    worse = FileAccessLogger(file, failing("nor this one"))
    good.log(ended(1))
    bad.log(ended(2))
    worse.log(ended(3))
    good.log(ended(3))
    bad.log(ended(4))
    assert file.flush()
    assert (file.entries, file.dropped) == (2, 0)
    assert told == [("not this one", False), ("nor this one", False), ("not this one", True)]
    assert read_by(file, path) == "1\n3\n"


def test_what_is_to_be_written_at_once_is(path: Path, files: Files) -> None:
    file = files.open(path, flush_at_bytes=1)
    FileAccessLogger(file, compile_format("%RESPONSE_CODE%\n")).log(ended(7))
    files.settle(file)
    assert (file.entries, path.read_text()) == (1, "7\n")
    file.close()


def test_what_happens_to_the_connection_after_a_request_is_not_in_its_entry(
    path: Path, file: LogFile
) -> None:
    log = FileAccessLogger(file, compile_format("%RESPONSE_CODE% %UPSTREAM_TRANSPORT_FAILURE_REASON%\n"))
    info = ended(200)
    assert info.upstream is not None
    log.log(info)
    info.upstream.transport_failure_reason = "TLS_error: of a later one"
    log.log(info)
    assert read_by(file, path) == "200 -\n200 TLS_error:_of_a_later_one\n"


def test_entries_after_the_end_are_dropped(path: Path, file: LogFile) -> None:
    log = FileAccessLogger(file, compile_format("%RESPONSE_CODE%\n"))
    file.close()
    for number in range(LINES_TOGETHER):
        log.log(ended(number))
    assert (file.entries, file.dropped, file.waiting_bytes) == (0, LINES_TOGETHER, 0)
