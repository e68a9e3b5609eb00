"""`sidecar run`, `validate` and `expand`: what is done with a configuration file, be it short or long."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

import yaml

from config.bootstrap import Source
from config.errors import ConfigErrors
from config.workload import Workload, is_workload_file, parse_workload
from config.workload_bootstrap import expand as expand_workload
from sidecar.main.format_check import format_problems
from sidecar.main.run import run as run_proxy

_HEADER: Final = "# What the workload file {name} stands for; made by `sidecar expand`.\n"


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _parsed(path: str, text: str) -> Workload:
    """Raises ConfigErrors."""
    return parse_workload(Source(path, text), format_problems)


def _expanded(path: str, workload: Workload) -> str:
    """The bootstrap of a workload file as YAML."""
    bootstrap = expand_workload(workload, os.path.abspath(os.path.dirname(path)))
    return yaml.dump(bootstrap, Dumper=_PlainDumper, sort_keys=False, width=110, allow_unicode=True)


def expand_to_text(path: str) -> str:
    """The bootstrap of the workload file `path`, with a line that says so. Raises ConfigErrors, OSError."""
    return _HEADER.format(name=os.path.basename(path)) + _expanded(path, _parsed(path, _read(path)))


class _PlainDumper(yaml.SafeDumper):
    """Says everything in full: anchors are for machines."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _fail(problems: Sequence[str]) -> int:
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1


def expand(path: str) -> int:
    """Print the bootstrap."""
    try:
        text = _read(path)
        if not is_workload_file(text):
            return _fail(
                [
                    f"{path}: not a workload file (it has no top-level `workload:`); a bootstrap needs no expanding"
                ]
            )
        sys.stdout.write(_HEADER.format(name=os.path.basename(path)) + _expanded(path, _parsed(path, text)))
    except ConfigErrors as errors:
        return _fail(str(errors).splitlines())
    except OSError as error:
        return _fail([f"{path}: {error.strerror}"])
    return 0


def validate(path: str) -> int:
    """Everything that `run` would check, short of opening sockets."""
    try:
        text = _read(path)
    except OSError as error:
        return _fail([f"{path}: {error.strerror}"])
    return _run(path, text, ["--mode", "validate", "-l", "warning"])


def run(path: str, arguments: Sequence[str]) -> int:
    """Run until told to stop."""
    try:
        text = _read(path)
    except OSError as error:
        return _fail([f"{path}: {error.strerror}"])
    return _run(path, text, list(arguments))


def _run(path: str, text: str, arguments: list[str]) -> int:
    if not is_workload_file(text):
        return run_proxy(["-c", path, *arguments])
    try:
        workload = _parsed(path, text)
        expanded = _expanded(path, workload)
    except ConfigErrors as errors:
        return _fail(str(errors).splitlines())
    # Somebody is watching: log at the level of the file, and show access log lines soon.
    if not any(each in ("-l", "--log-level") for each in arguments):
        arguments = ["-l", workload.log_level, *arguments]
    if "--file-flush-interval-msec" not in arguments:
        arguments = ["--file-flush-interval-msec", "1000", *arguments]
    directory = os.path.abspath(os.path.dirname(path))
    return run_proxy(arguments, [Source(f"{path} (expanded)", expanded)], [Source(path, text)], directory)
