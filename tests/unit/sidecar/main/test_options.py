"""The command line: Envoy's flags, understood or accepted with a warning."""

from __future__ import annotations

import re

import pytest

from config.model.options import DrainStrategy, Mode
from sidecar.main.options import OptionsError, parse_options

PILOT_AGENT = [
    "-c",
    "etc/istio/proxy/envoy-rev.json",
    "--drain-time-s",
    "45",
    "--drain-strategy",
    "immediate",
    "--local-address-ip-version",
    "v4",
    "--file-flush-interval-msec",
    "1000",
    "--disable-hot-restart",
    "--allow-unknown-static-fields",
    "-l",
    "warning",
    "--component-log-level",
    "misc:error",
    "--skip-deprecated-logs",
    "--concurrency",
    "2",
]


def test_what_pilot_agent_passes() -> None:
    options = parse_options(PILOT_AGENT)
    assert options.config_path == "etc/istio/proxy/envoy-rev.json"
    assert (options.drain_time_s, options.drain_strategy) == (45, DrainStrategy.IMMEDIATE)
    assert options.file_flush_interval_ms == 1000
    assert options.log_level == "warning"
    assert options.component_log_levels == (("misc", "error"),)
    assert options.concurrency == 2
    assert (
        options.allow_unknown_static_fields and options.disable_hot_restart and options.skip_deprecated_logs
    )
    assert options.warnings == ()


def test_defaults_are_envoys() -> None:
    options = parse_options([])
    assert options.mode is Mode.SERVE
    assert (options.drain_time_s, options.parent_shutdown_time_s, options.file_flush_interval_ms) == (
        600,
        900,
        10000,
    )
    assert options.concurrency == 1
    assert options.log_level == "info"


@pytest.mark.parametrize(
    "flags",
    [
        "--base-id 3",
        "--use-dynamic-base-id --restart-epoch 1",
        "--parent-shutdown-time-s 5",
        "--enable-core-dump",
        "--cpuset-threads",
    ],
)
def test_flags_without_meaning_get_one_warning(flags: str) -> None:
    options = parse_options(flags.split())
    assert len(options.warnings) == 1
    assert "has no effect" in options.warnings[0]


def test_unknown_arguments_do_not_stop_the_start() -> None:
    options = parse_options(["-c", "x.yaml", "--brand-new-flag", "--other=3"])
    assert options.config_path == "x.yaml"
    assert options.warnings == (
        "unknown argument '--brand-new-flag' ignored",
        "unknown argument '--other=3' ignored",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-l", "loud"], "invalid log level 'loud'"),
        (["--modee", "validate"], "unknown argument '--modee'; did you mean '--mode'?"),
        (["--drain-times-s=3"], "unknown argument '--drain-times-s'; did you mean '--drain-time-s'?"),
        (["--component-log-level", "http"], "'http' is not NAME:LEVEL"),
        (["--component-log-level", "http:loud"], "invalid log level 'loud'"),
        (["--mode", "dance"], "invalid choice: 'dance'"),
        (["--concurrency", "many"], "invalid int value: 'many'"),
        (["--concurrency", "-1"], "--concurrency must not be negative"),
        (["--drain-time-s", "-5"], "--drain-time-s must not be negative"),
        (["--stats-tag", "a.b:c"], "is not TAG:VALUE"),
        (["--stats-tag", "a:x", "--stats-tag", "a:y"], "'a' has two values"),
        (["--local-address-ip-version", "v5"], "invalid choice: 'v5'"),
    ],
)
def test_wrong_values(arguments: list[str], message: str) -> None:
    with pytest.raises(OptionsError, match=re.escape(message)):
        parse_options(arguments)


def test_stats_tags_and_warn_alias() -> None:
    options = parse_options(["--stats-tag", "zone:a", "--stats-tag", "rack:r1", "-l", "warn"])
    assert options.stats_tags == (("zone", "a"), ("rack", "r1"))
    assert options.log_level == "warning"


@pytest.mark.parametrize("flag", ["--version", "--help", "--hot-restart-version"])
def test_flags_that_print_and_exit(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        parse_options([flag])
    assert raised.value.code == 0
    assert capsys.readouterr().out.strip()


def test_zero_concurrency_means_all_cores() -> None:
    assert parse_options(["--concurrency", "0"]).concurrency >= 1


def test_memory_for_records_of_failures() -> None:
    assert parse_options(["-c", "x"]).failure_log_kb == 1024
    assert parse_options(["-c", "x", "--failure-log-kb", "0"]).failure_log_kb == 0
    with pytest.raises(OptionsError, match="--failure-log-kb must not be negative"):
        parse_options(["-c", "x", "--failure-log-kb", "-1"])
