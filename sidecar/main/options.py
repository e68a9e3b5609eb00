"""The command line of `sidecar-proxy`: exactly Envoy's, so that it can stand wherever an `envoy` binary stands."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

from config.model.options import DEFAULT_LOG_FORMAT, DrainStrategy, Mode, Options
from sidecar.version import VERSION_LINE

LOG_LEVELS: Final = ("trace", "debug", "info", "warning", "error", "critical", "off")


#: How alike an unknown argument must be to one of ours to count as a mistake (`--modee` and `--mode`: 0.92).
_MISSPELT: Final = 0.9


class OptionsError(Exception):
    """The command line is wrong; `str()` is for the user."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]  # argparse exits here; the caller decides
        raise OptionsError(message)


#: Accepted, because Envoy has them, but without meaning here.
_WITHOUT_MEANING: Final = {
    "--base-id": "there is no hot restart, so there is no shared memory to name",
    "--base-id-path": "there is no hot restart, so there is no shared memory to name",
    "--restart-epoch": "there is no hot restart",
    "--parent-shutdown-time-s": "there is no hot restart",
    "--socket-path": "there is no hot restart",
    "--socket-mode": "there is no hot restart",
    "--skip-hot-restart-on-no-parent": "there is no hot restart",
    "--skip-hot-restart-parent-stats": "there is no hot restart",
    "--enable-core-dump": "a Python process dumps core as the system says",
    "--enable-mutex-tracing": "there are no mutexes",
    "--cpuset-threads": "--concurrency says how many workers there are",
    "--enable-fine-grain-logging": "loggers are per component",
    "--log-stacktrace-single-entry": "stack traces are one entry already",
    "--disable-extensions": "extensions are built in",
}


def _build_parser() -> _Parser:
    parser = _Parser(
        prog="sidecar-proxy",
        usage="sidecar-proxy -c FILE [options]",
        description="An L4/L7 sidecar proxy with Envoy's command line, configuration and admin interface.",
        allow_abbrev=False,
    )
    _add_configuration(parser)
    _add_log(parser)
    _add_failures(parser)
    _add_life(parser)
    _add_without_meaning(parser)
    return parser


def _add_configuration(parser: _Parser) -> None:
    add = parser.add_argument_group("configuration").add_argument
    add("-c", "--config-path", default="", metavar="FILE", help="bootstrap file (YAML or JSON)")
    add("--config-yaml", default="", metavar="YAML", help="YAML or JSON merged over the bootstrap file")
    add(
        "--mode",
        default="serve",
        choices=[mode.value for mode in Mode],
        metavar="MODE",
        help="serve (default), validate: check the configuration and exit, init_only: start and exit",
    )
    add("--allow-unknown-static-fields", action="store_true", help="unknown fields are no error")
    add("--allow-unknown-fields", action="store_true", dest="allow_unknown_static_fields", help="the same")
    add("--reject-unknown-dynamic-fields", action="store_true", help="for a control plane's messages")
    add("--ignore-unknown-dynamic-fields", action="store_true", help="for a control plane's messages")
    add("--service-node", default="", metavar="ID", help="node id; counts more than the bootstrap's")
    add(
        "--service-cluster", default="", metavar="NAME", help="node cluster; counts more than the bootstrap's"
    )
    add("--service-zone", default="", metavar="ZONE", help="node zone; counts more than the bootstrap's")
    add(
        "--stats-tag",
        action="append",
        default=[],
        metavar="TAG:VALUE",
        help="a tag for every stat; repeatable",
    )


def _add_log(parser: _Parser) -> None:
    add = parser.add_argument_group("log").add_argument
    add("-l", "--log-level", default="info", metavar="LEVEL", help=f"{', '.join(LOG_LEVELS)}; default info")
    add("--component-log-level", default="", metavar="NAME:LEVEL,...", help="levels of single components")
    add(
        "--log-format",
        default=None,
        metavar="FORMAT",
        help=f"spdlog pattern, default {DEFAULT_LOG_FORMAT}".replace("%", "%%"),
    )
    add("--log-format-escaped", action="store_true", help="write line breaks in log messages as \\n")
    add("--log-path", default="", metavar="FILE", help="where the log goes, default stderr")
    add("--skip-deprecated-logs", action="store_true", help="no warnings about deprecated fields")
    add(
        "--file-flush-interval-msec",
        type=int,
        default=10000,
        metavar="MS",
        help="access logs are written at least so often, default 10000",
    )
    add(
        "--file-flush-min-size-kb",
        type=int,
        default=64,
        metavar="KB",
        help="and whenever so much waits, default 64",
    )


def _add_failures(parser: _Parser) -> None:
    add = parser.add_argument_group("why did it fail (not Envoy's)").add_argument
    add(
        "--failure-log-kb",
        type=int,
        default=1024,
        metavar="KB",
        help="memory for the records of the last failures (admin /failures), default 1024; 0: keep none",
    )
    add(
        "--failure-log-max-records",
        type=int,
        default=1000,
        metavar="N",
        help="and at most so many of them, default 1000",
    )


def _add_life(parser: _Parser) -> None:
    add = parser.add_argument_group("start and end").add_argument
    add(
        "--concurrency",
        type=int,
        default=1,
        metavar="N",
        help="number of worker processes, default 1; 0: as many as cores",
    )
    add("--admin-address-path", default="", metavar="FILE", help="write the admin address to this file")
    add("--local-address-ip-version", default="v4", choices=["v4", "v6"], metavar="v4|v6", help="default v4")
    add("--drain-time-s", type=int, default=600, metavar="S", help="how long a drain takes, default 600")
    add(
        "--drain-strategy",
        default="gradual",
        choices=[each.value for each in DrainStrategy],
        metavar="STRATEGY",
        help="gradual (default): clients are told to close one after the other; immediate: at once",
    )
    add("--version", action="version", version=f"sidecar-proxy  version: {VERSION_LINE}")


def _add_without_meaning(parser: _Parser) -> None:
    group = parser.add_argument_group("accepted, without effect", ", ".join(sorted(_WITHOUT_MEANING)))

    def add(name: str, **kind: Any) -> None:
        group.add_argument(name, help=argparse.SUPPRESS, **kind)

    for name in ("--parent-shutdown-time-s", "--base-id", "--restart-epoch"):
        add(name, type=int, default=900 if name == "--parent-shutdown-time-s" else 0)
    for name in ("--base-id-path", "--disable-extensions", "--socket-path", "--socket-mode"):
        add(name, default="")
    for name in (
        "--use-dynamic-base-id",
        "--disable-hot-restart",
        "--hot-restart-version",
        "--cpuset-threads",
        "--enable-core-dump",
        "--enable-fine-grain-logging",
        "--enable-mutex-tracing",
        "--log-stacktrace-single-entry",
        "--skip-hot-restart-on-no-parent",
        "--skip-hot-restart-parent-stats",
    ):
        add(name, action="store_true")


def parse_options(arguments: Sequence[str]) -> Options:
    """Read the command line. Raises OptionsError; `--help`, `--version` and `--hot-restart-version` exit with 0."""
    parser = _build_parser()
    known, unknown = parser.parse_known_args(list(arguments))
    stray = [argument for argument in unknown if not argument.startswith("-")]
    if stray and stray == unknown[:1] and not known.config_path and not known.config_yaml:
        raise OptionsError(f"unknown argument {stray[0]!r}; the configuration is given by -c {stray[0]}")
    _refuse_misspelt(parser, unknown)
    warnings = [f"unknown argument {argument!r} ignored" for argument in unknown]
    if known.hot_restart_version:
        sys.stdout.write("disabled\n")
        parser.exit(0)
    given = {argument.partition("=")[0] for argument in arguments}
    warnings += [f"{flag} has no effect: {why}" for flag, why in _WITHOUT_MEANING.items() if flag in given]
    _check_numbers(known)
    return Options(
        config_path=known.config_path,
        config_yaml=known.config_yaml,
        mode=Mode(known.mode),
        concurrency=known.concurrency or len(os.sched_getaffinity(0)),
        log_level=_level(known.log_level),
        component_log_levels=_component_levels(known.component_log_level),
        log_format=known.log_format if known.log_format is not None else DEFAULT_LOG_FORMAT,
        log_format_escaped=known.log_format_escaped,
        log_path=known.log_path,
        service_node=known.service_node,
        service_cluster=known.service_cluster,
        service_zone=known.service_zone,
        drain_time_s=known.drain_time_s,
        drain_strategy=DrainStrategy(known.drain_strategy),
        parent_shutdown_time_s=known.parent_shutdown_time_s,
        local_address_ip_version=known.local_address_ip_version,
        file_flush_interval_ms=known.file_flush_interval_msec,
        file_flush_min_size_kb=known.file_flush_min_size_kb,
        failure_log_kb=known.failure_log_kb,
        failure_log_max_records=known.failure_log_max_records,
        base_id=known.base_id,
        use_dynamic_base_id=known.use_dynamic_base_id,
        restart_epoch=known.restart_epoch,
        disable_hot_restart=known.disable_hot_restart,
        admin_address_path=known.admin_address_path,
        allow_unknown_static_fields=known.allow_unknown_static_fields,
        reject_unknown_dynamic_fields=known.reject_unknown_dynamic_fields,
        ignore_unknown_dynamic_fields=known.ignore_unknown_dynamic_fields,
        stats_tags=_stats_tags(known.stats_tag),
        cpuset_threads=known.cpuset_threads,
        skip_deprecated_logs=known.skip_deprecated_logs,
        enable_core_dump=known.enable_core_dump,
        warnings=tuple(warnings),
    )


def _refuse_misspelt(parser: argparse.ArgumentParser, unknown: Sequence[str]) -> None:
    """An argument that nobody knows may come from a newer agent and is ignored; one that looks like ours is a mistake."""
    if not unknown:
        return
    import difflib  # not needed by a command line without mistakes

    for argument in unknown:
        name = argument.partition("=")[0]
        close = difflib.get_close_matches(name, parser._option_string_actions, n=1, cutoff=_MISSPELT)
        if name.startswith("--") and close:
            raise OptionsError(f"unknown argument {name!r}; did you mean {close[0]!r}?")


def _check_numbers(known: argparse.Namespace) -> None:
    for name in (
        "concurrency",
        "drain_time_s",
        "parent_shutdown_time_s",
        "file_flush_interval_msec",
        "file_flush_min_size_kb",
        "failure_log_kb",
        "failure_log_max_records",
    ):
        if getattr(known, name) < 0:
            raise OptionsError(f"--{name.replace('_', '-')} must not be negative")


def _level(text: str) -> str:
    level = {"warn": "warning"}.get(text, text)
    if level not in LOG_LEVELS:
        raise OptionsError(f"invalid log level {text!r}; one of {', '.join(LOG_LEVELS)}")
    return level


def _component_levels(text: str) -> tuple[tuple[str, str], ...]:
    """`upstream:debug,config:trace`. Unknown components are accepted: the set differs from Envoy's."""
    levels = []
    for item in filter(None, text.split(",")):
        component, colon, level = item.partition(":")
        if not colon or not component:
            raise OptionsError(f"--component-log-level: {item!r} is not NAME:LEVEL")
        levels.append((component, _level(level)))
    return tuple(levels)


def _stats_tags(items: list[str]) -> tuple[tuple[str, str], ...]:
    tags: dict[str, str] = {}
    for item in items:
        name, colon, value = item.partition(":")
        if not colon or not name.replace("_", "").isalnum() or "." in value:
            raise OptionsError(
                f"--stats-tag: {item!r} is not TAG:VALUE (letters and digits; no dot in the value)"
            )
        if tags.get(name, value) != value:
            raise OptionsError(f"--stats-tag: {name!r} has two values")
        tags[name] = value
    return tuple(tags.items())
