"""From the command line to a running process and back: read, check, start, wait for signals, stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Sequence

import uvloop
from msgspec import structs

from config.bootstrap import ParsedBootstrap, ParseOptions, Source, parse_bootstrap
from config.errors import ConfigErrors
from config.model.core import Node
from config.model.options import Mode, Options
from config.places import with_places
from config.spelling import did_you_mean
from sidecar.main.admin.build import Admin, build_admin
from sidecar.main.format_check import format_problems
from sidecar.main.options import OptionsError, parse_options
from sidecar.main.standing_stats import make_standing_stats
from sidecar.main.workload_file import WorkloadFile
from sidecar.telemetry.istio_review import review_istio_stats
from sidecar.transport.sockets import raise_descriptor_limit
from sidecar.version import VERSION_LINE
from sidecar.worker import log
from sidecar.worker.failure import loop_failure
from sidecar.worker.process import Process
from sidecar.worker.start_error import StartError

logger = logging.getLogger(__name__)


def run(
    arguments: Sequence[str],
    sources: Sequence[Source] = (),
    written: Sequence[Source] = (),
    directory: str = "",
) -> int:
    """The whole life of `sidecar-proxy`; returns the exit code. `sources` are configuration texts besides the arguments'.

    `written`: what people wrote, if `sources` were made of it; there relative names of files are looked for in `directory`.
    """
    try:
        options = parse_options(arguments)
    except OptionsError as error:
        return _report([f"sidecar-proxy: {error}", "For the list of arguments: sidecar-proxy --help"])
    if not (options.config_path or options.config_yaml or sources):
        return _report(["sidecar-proxy: no configuration: -c FILE or --config-yaml YAML is needed"])
    try:
        log.set_up(
            options.log_level,
            options.component_log_levels,
            log.SpdlogFormatter(options.log_format, escape=options.log_format_escaped),
            options.log_path,
        )
    except OSError as error:
        return _report([f"--log-path {options.log_path}: {error.strerror}"])
    for warning in (*options.warnings, *_unknown_components(options)):
        logger.warning("%s", warning)
    try:
        parsed = load(options, sources)
    except ConfigErrors as errors:
        return _report(str(errors).splitlines())
    except OSError as error:
        return _report([f"{error.filename or options.config_path}: {error.strerror}"])
    name = options.config_path or ", ".join(each.name for each in sources)
    return serve(
        parsed, options, name, lambda problems: with_places(problems, written or parsed.sources, directory)
    )


def _unknown_components(options: Options) -> list[str]:
    """Warnings: Envoy refuses these, but a later Envoy may have components that are not known here."""
    return [
        f"--component-log-level: there is no component {name!r}{did_you_mean(name, log.COMPONENTS)}"
        for name, _ in options.component_log_levels
        if name not in log.COMPONENTS
    ]


def load(options: Options, given: Sequence[Source] = ()) -> ParsedBootstrap:
    """Read and translate the bootstrap. Raises ConfigErrors, OSError."""
    sources = list(given)
    if options.config_path:
        with open(options.config_path, encoding="utf-8", errors="surrogateescape") as file:
            sources.append(Source(options.config_path, file.read()))
    if options.config_yaml:
        sources.append(Source("--config-yaml", options.config_yaml))
    how = ParseOptions(options.allow_unknown_static_fields, format_problems, review_istio_stats)
    parsed = parse_bootstrap(sources, how)
    node = _override(parsed.bootstrap.node, options)
    return structs.replace(parsed, bootstrap=structs.replace(parsed.bootstrap, node=node))


def _override(node: Node, options: Options) -> Node:
    """`--service-node`, `--service-cluster` and `--service-zone` count more than the bootstrap, as in Envoy."""
    locality = structs.replace(node.locality, zone=options.service_zone or node.locality.zone)
    return structs.replace(
        node,
        id=options.service_node or node.id,
        cluster=options.service_cluster or node.cluster,
        locality=locality,
    )


def _report(problems: Sequence[str]) -> int:
    """Tell the operator why it does not start: plain lines on stderr, one for each problem."""
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    return 1


def serve(
    parsed: ParsedBootstrap, options: Options, name: str, placed: Callable[[Sequence[str]], Sequence[str]]
) -> int:
    """Start, run until told to stop, drain; or only check (`--mode validate`). `name`: of the configuration.

    `placed`: puts the places of the files that the configuration names in front of problems with them.
    """
    log_format = parsed.bootstrap.log_format
    if log_format.text is not None or log_format.json is not None:
        log.set_formatter(log.formatter_of(log_format, options))
    for warning in parsed.warnings:
        logger.warning("%s", warning)
    logger.info("initializing sidecar-proxy %s", VERSION_LINE)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_main(parsed, options, name, placed))


async def _main(
    parsed: ParsedBootstrap, options: Options, name: str, placed: Callable[[Sequence[str]], Sequence[str]]
) -> int:
    loop = asyncio.get_running_loop()
    try:
        process = _new_process(parsed, options, loop)
    except ValueError as error:
        return _report([f"stats_config: {error}"])
    loop.set_exception_handler(loop_failure(process))
    make_standing_stats(process.store.root, parsed, options.concurrency)
    admin: Admin | None = None
    try:
        workload_file = _build(process)
        if options.mode is Mode.VALIDATE:
            sys.stdout.write(f"configuration '{name}' OK\n")
            return 0
        raise_descriptor_limit()
        SignalHandler(process, loop).install()
        admin = build_admin(process, parsed)
        if admin is not None:
            await admin.start(loop)
        process.bind()
        process.garbage.settle()
        await process.start()
        if workload_file is not None:
            process.spawn(workload_file.watch(), "workload file")
        if options.mode is not Mode.INIT_ONLY:
            await process.run()
    except StartError as error:
        return _report(placed(error.problems))
    finally:
        if admin is not None:
            admin.close()
        await process.shutdown()
    logger.info("exiting")
    return 0


def _new_process(parsed: ParsedBootstrap, options: Options, loop: asyncio.AbstractEventLoop) -> Process:
    """One that serves, or main of several workers. Raises ValueError."""
    if options.concurrency == 1:
        return Process(parsed.bootstrap, options, loop)
    from sidecar.main.main_process import MainProcess  # not needed with one process

    return MainProcess(parsed.bootstrap, options, loop)


def _build(process: Process) -> WorkloadFile | None:
    """Build it, and read the file of workloads if there is one. Raises StartError with the problems of both."""
    spec = process.bootstrap.workload_discovery
    problems: list[str] = []
    workload_file = None
    if spec is not None:
        workload_file = WorkloadFile(spec.path, process.told_directory())
        try:
            workload_file.load()
        except StartError as error:
            problems += error.problems
    process.build(problems)
    return workload_file


class SignalHandler:
    """SIGTERM and SIGINT drain, then end; a second one ends at once. SIGUSR1 reopens logs; SIGHUP is ignored."""

    def __init__(self, process: Process, loop: asyncio.AbstractEventLoop) -> None:
        self._process = process
        self._loop = loop
        self._asked = 0

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._terminate, number)
        self._loop.add_signal_handler(signal.SIGUSR1, self._process.reopen_logs)
        self._loop.add_signal_handler(signal.SIGHUP, lambda: logger.info("caught and eating SIGHUP"))

    def _terminate(self, number: int) -> None:
        self._asked += 1
        name = signal.Signals(number).name
        process = self._process
        if self._asked > 1:
            logger.warning("caught a second %s, ending at once", name)
            process.stop()
            return
        if process.may_end_at_once:
            logger.warning("caught %s", name)
            process.stop()
            return
        logger.warning(
            "caught %s, waiting at most %d s for %d connections; a second signal ends at once",
            name,
            process.options.drain_time_s,
            process.active_connections,
        )
        process.spawn(self._drain(), "drain")

    async def _drain(self) -> None:
        process = self._process
        process.begin_exit()
        await process.until_idle(process.options.drain_time_s)
        process.stop()
