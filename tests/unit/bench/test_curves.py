"""Slopes, shapes, the table and the picture of curves."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from tests.bench import curve_report, curves, results, svg
from tests.bench.curve_report import CURVES, SCRAPE, points_of, shape, slope, table
from tests.bench.results import Result
from tests.support.process import REPOSITORY, ProxyCommand

_SVG = "{http://www.w3.org/2000/svg}"


def _measured() -> dict[str, Result]:
    return {
        f"curve:{key}": Result(
            "today",
            {str(point): {"cost": [0.1, 0.2, 0.3], "scrape": [0.001 * point]} for point in curve.points},
        )
        for key, curve in CURVES.items()
        if curve.points
    }


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_slope_is_the_exponent(exponent: float) -> None:
    assert slope([(x, 3 * x**exponent) for x in (10.0, 100.0, 1000.0)]) == pytest.approx(exponent)


def test_the_beginning_does_not_hide_the_growth() -> None:
    points = [(x, 1000 + x) for x in (1.0, 10.0, 1e5, 1e6, 1e7)]
    assert shape(slope(points)) == "linear"


def test_a_constant_does_not_make_a_square_look_linear() -> None:
    assert shape(slope([(x, 1e6 + x * x) for x in (10.0, 100.0, 1000.0, 10_000.0)])) == "worse than linear"


def test_nothing_is_said_about_one_point() -> None:
    assert slope([(0, 1.0), (10, 1.0), (20, 1.0)]) == pytest.approx(0)
    with pytest.raises(ValueError, match="fewer"):
        slope([(0, 1.0), (10, 1.0)])


@pytest.mark.parametrize(
    ("exponent", "word"),
    [(-0.1, "flat"), (0.1, "flat"), (0.5, "linear"), (1.0, "linear"), (1.3, "worse than linear")],
)
def test_shapes(exponent: float, word: str) -> None:
    assert shape(exponent) == word


def test_a_scrape_is_measured_with_its_series() -> None:
    assert points_of(SCRAPE, _measured())[0] == (100.0, pytest.approx(0.1))
    assert points_of(SCRAPE, {}) == []


def test_the_table_names_every_curve() -> None:
    text = table(_measured())
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert [line.split(" (")[0] for line in lines[1:]] == [f"| {curve.title}" for curve in CURVES.values()]
    assert lines[1].endswith("| 1: 0.200, 16: 0.200, 100: 0.200, 1k: 0.200, 5k: 0.200 | 0.00 | flat |")
    assert "| 1.00 | linear |" in lines[5]
    assert "performance.svg" in text
    assert "not yet measured" not in text


def test_the_table_says_which_variant_ran() -> None:
    compiled = _measured()
    pure = {
        key: Result(results.setting("once", "gcc is missing"), result.samples)
        for key, result in compiled.items()
    }
    assert "(of this proxy, compiled)" in table(compiled)
    assert ", pure)" not in table(compiled)
    assert "(of this proxy, pure)" in table(pure)
    assert table(pure).count(", pure) |") == len(CURVES)
    text = table({**compiled, "curve:headers": pure["curve:headers"]})
    assert "(of this proxy, compiled, and pure where it says so)" in text
    assert text.count(", pure) |") == 1
    assert "| Headers (CPU s per 1000 requests, pure) |" in text


def test_curves_that_were_not_measured_are_told() -> None:
    text = table({})
    assert text.count("not yet measured") == len(CURVES)
    assert "performance.svg" not in text


def test_the_picture_is_well_formed_and_has_all_points(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    curve_report.write(page, _measured())
    root = ElementTree.fromstring((tmp_path / "performance.svg").read_text())
    assert len(root.findall(f"{_SVG}g")) == len(CURVES)
    circles = root.findall(f".//{_SVG}circle")
    assert len(circles) == sum(len(points_of(key, _measured())) for key in CURVES)
    for circle in circles:
        assert 0 <= float(circle.attrib["cx"]) <= 300
        assert 0 <= float(circle.attrib["cy"]) <= 220
    titles = [each.text for each in root.findall(f".//{_SVG}text[@class='title']")]
    assert titles == [curve.title for curve in CURVES.values()]
    assert "today" in page.read_text()


def test_text_is_escaped() -> None:
    text = svg.draw([svg.Panel("a < b & c", "x", "y", "flat", ((1.0, 1.0), (10.0, 2.0)))])
    assert next(each.text for each in ElementTree.fromstring(text).iter(f"{_SVG}text")) == "a < b & c"


def _labels(panel: svg.Panel) -> list[str]:
    """What stands at the axes."""
    texts = ElementTree.fromstring(svg.draw([panel])).iter(f"{_SVG}text")
    return [each.text or "" for each in texts if not each.attrib["class"]]


def test_sizes_of_bytes_are_told_in_their_own_multiples() -> None:
    points = tuple((float(x), 0.1 * (x or 1)) for x in (0, 1 << 10, 1 << 20, 1 << 24))
    labels = _labels(svg.Panel("Bodies", "bytes", "CPU s", "linear", points, 1024))
    assert sorted(labels[-4:]) == ["0", "16Mi", "1Ki", "1Mi"]


@pytest.mark.parametrize(
    ("costs", "labels"),
    [
        ((0.06, 0.08), ["0.05", "0.1", "0.2"]),
        ((0.02, 300.0), ["0.1", "1", "10", "100"]),
        ((0.2, 0.9), ["0.2", "0.5", "1"]),
    ],
)
def test_a_flat_curve_has_a_scale_too(costs: tuple[float, float], labels: list[str]) -> None:
    points = ((10.0, costs[0]), (100.0, costs[1]))
    assert _labels(svg.Panel("t", "x", "y", "flat", points))[:-2] == labels


def test_labels_that_have_no_room_are_left_out() -> None:
    points = tuple((float(x), 1.0) for x in (100, 101, 102, 1000))
    assert _labels(svg.Panel("t", "x", "y", "flat", points))[-2:] == ["100", "1k"]


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.05, "0.05"), (10, "10"), (100, "100"), (1000, "1k"), (1 << 24, "16.8M")]
)
def test_numbers(value: float, text: str) -> None:
    assert svg.number(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (1024, "1Ki"), (1 << 16, "64Ki"), (1 << 24, "16Mi")])
def test_numbers_of_bytes(value: float, text: str) -> None:
    assert svg.number(value, 1024) == text


def test_the_page_shows_the_stored_curves() -> None:
    page = (REPOSITORY / "docs" / "performance.md").read_text(encoding="utf-8")
    assert table(results.read(REPOSITORY / "docs" / "performance.json")) in page


@pytest.fixture
def backendless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "Backend", lambda directory: nullcontext())
    monkeypatch.setattr(curves.ours, "variants", lambda tell: ({"pure": ProxyCommand("pure", [])}, ""))


@pytest.mark.usefixtures("backendless")
def test_a_curve_that_fails_does_not_lose_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def point(key: str, point: int, *_: object) -> dict[str, list[float]]:
        if (key, point) == (curve_report.CLUSTERS, 1000):
            raise RuntimeError("it does not start")
        return {"cost": [0.1], "scrape": [0.1]}

    monkeypatch.setattr(curves, "measure_point", point)
    page = tmp_path / "page.md"
    assert curves.main(["--output", str(page)]) == 1
    lost = f"curve:{curve_report.CLUSTERS}"
    stored = results.read(tmp_path / "page.json")
    assert list(stored) == sorted(
        f"curve:{key}" for key, curve in CURVES.items() if curve.points and key not in lost
    )
    assert page.read_text().count("not yet measured") == 1
    assert (
        len(ElementTree.fromstring((tmp_path / "page.svg").read_text()).findall(f"{_SVG}g"))
        == len(CURVES) - 1
    )
    assert "failed, and left as they were: clusters" in capsys.readouterr().err


@pytest.mark.usefixtures("backendless")
def test_what_there_is_no_time_for_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 100_000, 100))
    monkeypatch.setattr(curves, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(curves, "measure_point", lambda *_: {"cost": [0.1]})
    assert curves.main(["--output", str(tmp_path / "page.md"), "--only", "connections|headers"]) == 1
    assert list(results.read(tmp_path / "page.json")) == ["curve:connections"]
