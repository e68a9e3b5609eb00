"""Tables, targets and the file of results, from numbers that nobody measured."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.bench import __main__ as program
from tests.bench import results, rows
from tests.bench import workers as bench_workers
from tests.bench.amounts import Amount
from tests.bench.cells import NOT_COMPILED, NOT_MEASURED, spread, verdict
from tests.bench.load import Answered
from tests.bench.measure import turns
from tests.bench.ours import Programs
from tests.bench.report import tables, write
from tests.bench.report_workers import scaling
from tests.bench.results import Result, Samples
from tests.bench.telemetry_world import FULL, NONE, parts_of
from tests.bench.workers import HEAVY, LIGHT, LOADS, MACHINE, busy_seconds
from tests.support.process import REPOSITORY, ProxyCommand

_COSTS = {"cost": [0.1, 0.2, 0.3], "rate": [10.0, 12.0, 11.0]}
_OURS = {"cost": [0.25, 0.15, 0.2], "rate": [9.0]}


_PURE = {"cost": [0.4], "rate": [4.0]}
_ISTIO = {"cost": [0.25], "rate": [8.0]}
_NAMES = ("envoy", "sidecar", "pure")


def _line(text: str, start: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {start} |")][:1]
    return [cell.strip() for cell in line.strip("|").split("|")]


def _telemetry() -> Samples:
    costs = {"none": 0.1, "stats": 0.11, "access_log": 0.12, "tracing": 0.105, "full": 0.12, "custom": 0.17}
    found: Samples = {
        f"{name}:{part}": {"cost": [costs[part] * factor], "rate": [5.0]}
        for name, factor in (("envoy", 1), ("sidecar", 1), ("pure", 2))
        for part in parts_of(name)
    }
    return {**found, "envoy:log": {"lines_ratio": [1.0003]}, "sidecar:log": {"lines_ratio": [0.995]}}


def _workers(
    *, load_cores: float, reader_cores: float = 0.0, rate_of_two: float = 15.0, cost_of_two: float = 0.11
) -> Samples:
    """Client and backend take `load_cores` each while one worker does 10,000 requests per second."""
    found: Samples = {}
    for name in _NAMES:
        for load in LOADS:
            for concurrency, rate, cost in ((1, 10.0, 0.1), (2, rate_of_two, cost_of_two)):
                cores = {f"{who}_cores": [load_cores] for who in ("client", "backend")}
                found[f"{name}:{load}:{concurrency}"] = {
                    "cost": [cost],
                    "rate": [rate],
                    "proxy_cores": [rate * cost],
                    "reader_cores": [reader_cores],
                    "elsewhere_cores": [0.0],
                    **cores,
                }
    return {**found, MACHINE: {"gain": [1.9], "cores": [2], "lines_ratio": [0.98]}}


def _all() -> dict[str, Result]:
    found = {
        row.key: Result(
            "today",
            {
                "envoy": _COSTS,
                "sidecar": _OURS,
                "istio": _ISTIO,
                "pure": _PURE,
                "haproxy": _OURS,
                "direct": {"cost": [], "rate": [50.0]},
            },
        )
        for row in rows.ROWS
    }
    sides = {"client_cost": [0.1], "server_cost": [0.1]}
    found[rows.PAIR] = Result(
        "today",
        {
            "direct": {"p50_ms": [0.1], "p90_ms": [0.2], "p99_ms": [0.3]},
            "envoy": {**sides, "p50_ms": [0.5], "p90_ms": [1.2], "p99_ms": [2.3]},
            "sidecar": {**sides, "p50_ms": [0.6], "p90_ms": [1.2], "p99_ms": [3.4]},
            "pure": {
                "client_cost": [0.2],
                "server_cost": [0.3],
                "p50_ms": [0.9],
                "p90_ms": [2.2],
                "p99_ms": [6.3],
            },
        },
    )
    found[rows.TELEMETRY] = Result("today", _telemetry())
    found[rows.TELEMETRY_PACED] = Result("today", {**_telemetry(), "sidecar:tracing": {"cost": [0.104]}})
    found[rows.WORKERS] = Result("today", _workers(load_cores=0.2))
    found[rows.START] = Result("today", {name: {"small_s": [0.3], "large_s": [0.5]} for name in _NAMES})
    found[rows.POD] = Result(
        "today",
        {
            name: {"idle_bytes": [67_000_000], "idle_cpu_ratio": [0.01], "connection_bytes": [2048.0]}
            for name in _NAMES
        },
    )
    found[rows.MEMORY] = Result(
        "today",
        {
            "envoy": {"peak_bytes": [67_000_000], "after_bytes": [67_000_000]},
            "sidecar": {"peak_bytes": [134_000_000], "after_bytes": [68_000_000]},
            "pure": {"peak_bytes": [100_000_000], "after_bytes": [50_000_000]},
        },
    )
    found[rows.TLS_CONNECTIONS] = Result(
        "yesterday", {name: {"connection_bytes": [61440.0]} for name in _NAMES}
    )
    return found


def _without_compiled(found: dict[str, Result]) -> dict[str, Result]:
    return {
        key: Result(
            result.setting,
            {
                name: each
                for name, each in result.samples.items()
                if not name.startswith(("sidecar", "istio"))
            },
        )
        for key, result in found.items()
    }


@pytest.mark.parametrize(
    ("value", "target", "text"),
    [
        (1.626, 1.2, "1.63 (target 1.2)"),
        (0.99, 1.0, "0.99 (target 1: met)"),
        (1.2, 1.2, "1.20 (target 1.2: met)"),
        (2.0, None, "2.00"),
    ],
)
def test_verdict(value: float, target: float | None, text: str) -> None:
    assert verdict(value, target) == text


def test_spread_is_the_median_and_the_range() -> None:
    assert spread([0.3, 0.1, 0.2]) == "0.200 (0.100 to 0.300)"


def test_every_row_has_its_ratio_and_target() -> None:
    text = tables(_all())
    assert NOT_MEASURED not in text
    cells = _line(text, rows.ROWS[0].title)
    assert cells[1:4] == ["1000 requests", "0.200 (0.100 to 0.300)", "0.200 (0.150 to 0.250)"]
    assert cells[4:] == [
        *("0.250", "0.400", "0.200 (0.150 to 0.250)", "-"),
        *("1.00 (target 1.2: met)", "1.25 (target 1.2)", "2.00"),
    ]
    for row in rows.ROWS:
        assert _line(text, row.title)[-3].startswith("1.00")
        assert _line(text, row.title)[-2].startswith("1.25")
        assert _line(text, row.title)[-1] == "2.00"


def test_rates_are_per_second_of_the_unit() -> None:
    _, _, text = tables(_all()).partition("What goes through in a second")
    assert _line(text, rows.ROWS[0].title)[1:] == [
        "requests",
        "11,000",
        "9,000",
        "8,000",
        "4,000",
        "9,000",
        "-",
        "50,000",
    ]
    assert _line(text, "TCP bulk, plaintext")[1:] == [
        *("GiB", "11.00", "9.00", "8.00", "4.00", "9.00", "-", "50.00")
    ]


def test_latencies_of_a_pair_are_above_direct() -> None:
    text = tables(_all())
    assert _line(text, "p50 added, ms")[1:] == ["0.40", "0.50", "0.80", "1.25", "2.00"]
    assert _line(text, "p90 added, ms")[2] == "1.00 (target 3.3 ms: met)"
    assert _line(text, "p99 added, ms")[2] == "3.10 (target 1.5 times Envoy's)"
    assert _line(text, "CPU s per 1000 requests, server's side")[1:] == [
        "0.100",
        "0.100",
        "0.300",
        "1.00",
        "3.00",
    ]


def test_telemetry_is_told_in_parts() -> None:
    text = tables(_all())
    assert _line(text, "none")[1:] == ["0.100", "0.100", "0.200", *["1.00"] * 4, "2.00"]
    assert _line(text, "metadata exchange and Istio's metrics")[1:] == [
        *("-", "0.110", "0.220"),
        *("-", "1.10", "1.10"),
        *("1.10", "2.20"),
    ]
    assert _line(text, "all of these")[4:] == [
        "1.20",
        "1.20 (target 1.25: met)",
        "1.20",
        "1.20 (target 1.2: met)",
        "2.40",
    ]
    assert _line(text, "all, and ten more labels in CEL")[5] == "1.70 (target 1.6)"
    lines = [line for line in text.splitlines() if line.startswith("| 1 % of requests traced |")]
    assert ["| 0.104 |" in line for line in lines] == [True, False, False]  # paced, fast, rates
    assert "At one rate for all, 4,000 requests per second:" in text
    assert "the reader has got: Envoy 100.0%, sidecar 99.5%." in text


def test_scaling_is_judged_by_what_the_machine_leaves() -> None:
    """Of 0.2 s CPU per 1000 requests the proxy takes 0.1 and the others 0.04: 2 cores do 14,286 where one worker did 10,000."""
    found = scaling(_all(), "sidecar", HEAVY)
    assert found is not None
    assert found == pytest.approx((1.5, 2 / 0.14 / 10, 2 * 0.1 / 0.11))
    text = tables(_all())
    assert "Two processes that only count do 1.90 times what one does." in text
    assert "the reader has got at least 98.0%." in text
    lines = [line for line in text.splitlines() if line.startswith("| all telemetry | sidecar |")]
    assert "| 1.50 (target 1.7: not to be seen here) | 1.43 | 1.82 (target 1.7: met) |" in lines[0]


def test_a_machine_that_leaves_enough_is_no_excuse() -> None:
    results = {rows.WORKERS: Result("today", _workers(load_cores=0.05))}
    found = scaling(results, "sidecar", LIGHT)
    assert found is not None
    assert found.at_most == pytest.approx(2 / 0.11 / 10)
    text = tables(results)
    assert "| no telemetry | sidecar | 10,000 | 15,000 | 1.50 (target 1.7) | 1.82 | 1.82 |" in text


def _gains_of(samples: Samples) -> list[str]:
    text = tables({rows.WORKERS: Result("today", samples)})
    (line,) = [line for line in text.splitlines() if line.startswith("| no telemetry | sidecar |")]
    return [each.strip() for each in line.strip("|").split("|")][4:7]


def test_a_second_worker_that_does_nothing_is_not_excused_by_the_machine() -> None:
    """A request costs no more when one worker takes all connections, or when both wait for a lock."""
    found = _gains_of(_workers(load_cores=0.25, rate_of_two=10.0, cost_of_two=0.1))
    assert found == ["1.00 (target 1.7)", "1.33", "2.00"]


def test_where_nothing_is_left_nothing_is_said_of_free_cores() -> None:
    """Of 2 cores one worker and the others take 1.9 already: it would look the same if the second worker did nothing."""
    found = _gains_of(_workers(load_cores=0.45, rate_of_two=10.0, cost_of_two=0.1))
    assert found == ["1.00 (target 1.7: not to be seen here)", "1.05", "2.00"]


@pytest.mark.parametrize(
    ("load_cores", "reader_cores", "at_most"), [(0.8, 0.0, 1.25), (0.1, 0.9, 1 / 0.9), (0.0, 0.0, 2.0)]
)
def test_client_backend_and_reader_have_a_core_each_at_most(
    load_cores: float, reader_cores: float, at_most: float
) -> None:
    samples = {
        **_workers(load_cores=load_cores, reader_cores=reader_cores),
        MACHINE: {"cores": [64]},
    }
    found = scaling({rows.WORKERS: Result("today", samples)}, "sidecar", LIGHT)
    assert found is not None
    assert found.at_most == pytest.approx(at_most)


def test_the_reader_takes_its_part_of_the_machine() -> None:
    samples = _workers(load_cores=0.2, reader_cores=0.1)
    found = scaling({rows.WORKERS: Result("today", samples)}, "sidecar", HEAVY)
    assert found is not None
    assert found.at_most == pytest.approx(2 / 0.15 / 10)


def test_busy_is_all_but_idle_and_waiting() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    stat = f"cpu  {ticks} {2 * ticks} {3 * ticks} 99999 88888 {4 * ticks} {5 * ticks} {6 * ticks} 0 0\ncpu0 1 1 1 1\n"
    assert busy_seconds(stat) == pytest.approx(21.0)


def test_without_a_compiler_the_tables_say_so() -> None:
    text = tables(_without_compiled(_all()))
    assert NOT_MEASURED not in text
    assert _line(text, rows.ROWS[0].title)[3:5] == [NOT_COMPILED] * 2
    assert _line(text, rows.ROWS[0].title)[8:] == [*[f"{NOT_COMPILED} (target 1.2)"] * 2, "2.00"]
    assert _line(text, "p90 added, ms")[2] == f"{NOT_COMPILED} (target 3.3 ms)"
    assert _line(text, "all of these")[2] == NOT_COMPILED
    assert _line(text, "resident memory when idle, MiB")[2] == NOT_COMPILED
    assert ": met)" not in text
    said = results.setting("once", "gcc is missing")
    assert said.endswith("; once; only pure, nothing was compiled: gcc is missing")
    assert Result(said, {}).only_pure
    assert not Result(results.setting("once"), {}).only_pure


def test_facts_and_their_targets() -> None:
    text = tables(_all())
    assert _line(text, "from exec to ready with 50 listeners, s")[1:] == [
        "0.50",
        "0.50 (target 0.6: met)",
        "0.50",
    ]
    assert _line(text, "memory after 100,000 requests, idle, MiB")[1:] == ["64", "65 (target Envoy's)", "48"]
    assert _line(text, "memory per idle mutual TLS connection, of 5,000, KiB")[2] == "60.0 (target 60: met)"


def test_what_was_not_measured_is_told_with_its_target() -> None:
    text = tables({})
    assert _line(text, rows.ROWS[0].title)[2:] == [
        *[NOT_MEASURED] * 6,
        *[f"{NOT_MEASURED} (target 1.2)"] * 2,
        NOT_MEASURED,
    ]
    assert _line(text, "p90 added, ms")[2] == f"{NOT_MEASURED} (target 3.3 ms)"
    assert ": met)" not in text
    assert "Measured on" not in text


def test_rows_measured_together_are_named_together() -> None:
    text = tables(_all())
    assert "Measured on yesterday (tls_connections)." in text
    assert "Measured on today (http, mtls, " in text


def test_results_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "performance.json"
    assert results.read(path) == {}
    results.write(path, _all())
    assert results.read(path) == _all()


def test_only_what_stands_between_the_markers_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("above\n<!-- b -->\nold\n<!-- e -->\nbelow\n")
    write(path, "new", "<!-- b -->", "<!-- e -->")
    assert path.read_text() == "above\n<!-- b -->\nnew\n<!-- e -->\nbelow\n"
    write(path, "more", "<!-- c -->", "<!-- d -->")
    assert path.read_text().endswith("below\n\n<!-- c -->\nmore\n<!-- d -->\n")


def test_the_page_shows_the_stored_results() -> None:
    page = (REPOSITORY / "docs" / "performance.md").read_text(encoding="utf-8")
    assert tables(results.read(REPOSITORY / "docs" / "performance.json")) in page


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> dict[str, program.Job]:
    """In place of what would be measured."""
    found: dict[str, program.Job] = {}
    monkeypatch.setattr(program, "_jobs", lambda *_: found.items())
    monkeypatch.setattr(program.ours, "programs", lambda tell: Programs({}))
    return found


def test_only_what_is_chosen_is_measured_and_the_rest_stays(
    tmp_path: Path, jobs: dict[str, program.Job]
) -> None:
    jobs["http"] = lambda: {"envoy": _COSTS, "sidecar": _OURS}
    output = tmp_path / "page.md"
    results.write(tmp_path / "page.json", {"tcp": Result("long ago", {"envoy": _COSTS, "sidecar": _COSTS})})
    assert program.main(["--only", "http", "--output", str(output)]) == 0
    stored = results.read(tmp_path / "page.json")
    assert stored["tcp"].setting == "long ago"
    assert stored["http"].samples["sidecar"] == _OURS
    assert "Measured on long ago (tcp)." in output.read_text()


def test_a_row_that_fails_does_not_lose_the_others(
    tmp_path: Path, jobs: dict[str, program.Job], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> Samples:
        raise RuntimeError("nobody answers")

    jobs["http"] = fail
    jobs["tcp"] = lambda: {"envoy": _COSTS}
    results.write(tmp_path / "page.json", {"http": Result("long ago", {"envoy": _COSTS})})
    assert program.main(["--output", str(tmp_path / "page.md")]) == 1
    stored = results.read(tmp_path / "page.json")
    assert stored["http"].setting == "long ago"
    assert stored["tcp"].samples == {"envoy": _COSTS}
    said = capsys.readouterr().err
    assert "nobody answers" in said
    assert "failed, and left as they were: http" in said


def test_patterns_choose() -> None:
    assert rows.chosen(["http", "h2", "tcp"], "^h") == ["http", "h2"]
    assert rows.chosen(["http", "h2"], None) == ["http", "h2"]


def test_competitors_take_turns_as_often_as_they_are_worth() -> None:
    names = ["envoy", "sidecar", "pure", "haproxy", "direct"]
    assert list(turns(names, 3)) == [*names, "pure", "sidecar", "envoy", "envoy", "sidecar"]
    assert list(turns(names, 1)) == names
    assert list(turns(["pure", "direct"], 2, all_as_often=True)) == ["pure", "direct", "direct", "pure"]
    assert list(turns(["pure:full", "envoy:full"], 2)) == ["pure:full", "envoy:full", "envoy:full"]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (
            "http",
            "3 repetitions of 2 s, 16 connections; pure and with Istio's metrics 2 repetitions of 1 s; HAProxy, nginx and direct 1 repetition of 1 s",
        ),
        (
            "tcp_bulk",
            "3 repetitions of 2 s, 4 connections; pure and with Istio's metrics 2 repetitions of 1 s; HAProxy, nginx and direct 1 repetition of 1 s",
        ),
        (rows.TELEMETRY, "3 repetitions of 1 s, 16 connections; pure 2 repetitions of 1 s"),
        (rows.TELEMETRY_PACED, "3 repetitions of 1 s, 16 connections; pure 2 repetitions of 1 s"),
        (rows.WORKERS, "3 repetitions of 1 s, 64 connections; pure 2 repetitions of 1 s"),
        (rows.PAIR, "3 repetitions of 2 s, 16 connections, 1000 requests per second, all as often"),
        (rows.START, "3 starts of each"),
        (rows.POD, "once, 1,000 connections"),
        (rows.MEMORY, "once, 100,000 requests over 16 connections"),
        (rows.TLS_CONNECTIONS, "once, 5,000 connections"),
    ],
)
def test_each_row_tells_how_much_of_it_was_measured(key: str, words: str) -> None:
    assert Amount(repetitions=3, seconds=2, connections=16).words(key) == words


def test_one_repetition_is_as_much_for_all() -> None:
    assert Amount(1, 1, 8).words(rows.WORKERS) == "1 repetition of 1 s, 32 connections"
    assert Amount(1, 1, 8).words(rows.START) == "1 start of each"


def test_half_of_an_odd_number_of_seconds_is_rounded_up() -> None:
    assert Amount(3, 3, 16).of(rows.TELEMETRY) == Amount(3, 2, 16)


def test_the_amount_of_a_row_is_stored_with_it(tmp_path: Path, jobs: dict[str, program.Job]) -> None:
    jobs[rows.WORKERS] = dict
    jobs[rows.POD] = dict
    assert program.main(["--output", str(tmp_path / "page.md"), "--seconds", "4"]) == 0
    stored = results.read(tmp_path / "page.json")
    assert "; 3 repetitions of 2 s, 64 connections; pure" in stored[rows.WORKERS].setting
    assert stored[rows.POD].setting.endswith("; once, 1,000 connections")


def test_all_telemetry_of_two_workers_is_the_same_for_all_proxies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In place of the world, one that writes down who was loaded how."""
    loaded: list[tuple[str, str, int]] = []

    class Stage:
        def __init__(self, command: ProxyCommand) -> None:
            self.name = command.name

        def load(self, part: str, seconds: float, connections: int) -> Answered:
            loaded.append((self.name, part, connections))
            return Answered(1, 1.0)

        def end(self) -> float:
            return 1.0

    world = SimpleNamespace(start=lambda command, concurrency: Stage(command))
    monkeypatch.setattr(bench_workers, "TelemetryWorld", lambda directory: nullcontext(world))
    monkeypatch.setattr(
        bench_workers, "_used", lambda *_: dict.fromkeys(("proxy", "client", "backend", "busy"), 0.0)
    )
    monkeypatch.setattr(bench_workers, "_gain", lambda: 2.0)
    commands = {name: ProxyCommand(name, []) for name in _NAMES}
    bench_workers.measure_workers(
        commands, tmp_path, repetitions=1, seconds=1, connections=64, tell=lambda line: None
    )
    assert set(loaded) == {(name, part, 64) for name in _NAMES for part in (NONE, FULL)}
