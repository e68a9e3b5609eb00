"""Tables, targets and the file of results, from numbers that nobody measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import __main__ as program
from tests.bench import results, rows
from tests.bench.report import NOT_MEASURED, spread, tables, verdict, write
from tests.bench.results import Result
from tests.support.process import REPOSITORY

_COSTS = {"cost": [0.1, 0.2, 0.3], "rate": [10.0, 12.0, 11.0]}
_OURS = {"cost": [0.25, 0.15, 0.2], "rate": [9.0]}


def _line(text: str, start: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {start} |")][:1]
    return [cell.strip() for cell in line.strip("|").split("|")]


def _all() -> dict[str, Result]:
    found = {
        row.key: Result(
            "today",
            {"envoy": _COSTS, "sidecar": _OURS, "haproxy": _OURS, "direct": {"cost": [], "rate": [50.0]}},
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
        },
    )
    found[rows.TELEMETRY] = Result("today", dict.fromkeys(("off", "full", "custom"), _OURS))
    found[rows.START] = Result(
        "today", {name: {"small_s": [0.3], "large_s": [0.5]} for name in ("envoy", "sidecar")}
    )
    found[rows.POD] = Result(
        "today",
        {
            name: {"idle_bytes": [67_000_000], "idle_cpu_ratio": [0.01], "connection_bytes": [2048.0]}
            for name in ("envoy", "sidecar")
        },
    )
    found[rows.MEMORY] = Result(
        "today",
        {
            "envoy": {"peak_bytes": [67_000_000], "after_bytes": [67_000_000]},
            "sidecar": {"peak_bytes": [134_000_000], "after_bytes": [68_000_000]},
        },
    )
    found[rows.TLS_CONNECTIONS] = Result(
        "yesterday", {name: {"connection_bytes": [61440.0]} for name in ("envoy", "sidecar")}
    )
    return found


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
    assert cells[4:] == ["0.200 (0.150 to 0.250)", "-", "1.00 (target 1.2: met)"]
    for row in rows.ROWS:
        assert _line(text, row.title)[-1].startswith("1.00")


def test_rates_are_per_second_of_the_unit() -> None:
    _, _, text = tables(_all()).partition("What goes through in a second")
    assert _line(text, rows.ROWS[0].title)[1:] == ["requests", "11,000", "9,000", "9,000", "-", "50,000"]
    assert _line(text, "TCP bulk, plaintext")[1:] == ["GiB", "11.00", "9.00", "9.00", "-", "50.00"]


def test_latencies_of_a_pair_are_above_direct() -> None:
    text = tables(_all())
    assert _line(text, "p50 added, ms")[1:] == ["0.40 (0.40 to 0.40)", "0.50 (0.50 to 0.50)"]
    assert _line(text, "p90 added, ms")[2] == "1.00 (1.00 to 1.00) (target 3.3 ms: met)"
    assert _line(text, "p99 added, ms")[2] == "3.10 (3.10 to 3.10) (target 1.5 times Envoy's)"


def test_facts_and_their_targets() -> None:
    text = tables(_all())
    assert _line(text, "from exec to ready with 50 listeners, s")[1:] == ["0.50", "0.50 (target 0.6: met)"]
    assert _line(text, "memory after 100,000 requests, idle, MiB")[1:] == ["64", "65 (target Envoy's)"]
    assert _line(text, "memory per idle mutual TLS connection, of 5,000, KiB")[2] == "60.0 (target 60: met)"


def test_what_was_not_measured_is_told_with_its_target() -> None:
    text = tables({})
    assert _line(text, rows.ROWS[0].title)[2:] == [*[NOT_MEASURED] * 4, f"{NOT_MEASURED} (target 1.2)"]
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


def test_only_what_is_chosen_is_measured_and_the_rest_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def measure(options: object, directory: Path) -> list[tuple[str, results.Samples]]:
        asked.append(options)
        return [("http", {"envoy": _COSTS, "sidecar": _OURS})]

    monkeypatch.setattr(program, "_measure", measure)
    output = tmp_path / "page.md"
    results.write(tmp_path / "page.json", {"tcp": Result("long ago", {"envoy": _COSTS, "sidecar": _COSTS})})
    assert program.main(["--only", "http", "--output", str(output)]) == 0
    stored = results.read(tmp_path / "page.json")
    assert stored["tcp"].setting == "long ago"
    assert stored["http"].samples["sidecar"] == _OURS
    assert "Measured on long ago (tcp)." in output.read_text()


def test_patterns_choose() -> None:
    assert rows.chosen(["http", "h2", "tcp"], "^h") == ["http", "h2"]
    assert rows.chosen(["http", "h2"], None) == ["http", "h2"]
