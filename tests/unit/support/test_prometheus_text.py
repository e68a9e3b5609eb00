"""The strict reader of the metrics text, and the comparison with expectations."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.prometheus_text import PrometheusTextError, differences, parse

_GOOD = """# TYPE a_total counter
a_total{x="1",y="q\\"\\\\\\n"} 5
a_total{} 0

# TYPE g gauge
g 1.5
# TYPE h histogram
h_bucket{le="+Inf"} 2
h_sum{} 3
h_count{} 2
"""


def test_families_labels_and_values() -> None:
    families = parse(_GOOD)
    assert list(families) == ["a_total", "g", "h"]
    assert families["a_total"].samples[0].labels == (("x", "1"), ("y", 'q"\\\n'))
    assert [sample.value for sample in families["a_total"].samples] == [5, 0]
    assert families["g"].samples[0].value == 1.5
    assert len(families["h"].samples) == 3


@pytest.mark.parametrize(
    "text",
    [
        "# TYPE a counter\na 1",
        "a 1\n",
        "# TYPE a counter\n# TYPE a counter\na 1\n",
        "# TYPE a counter\na 1\na 1\n",
        '# TYPE a counter\na{x="1",x="2"} 1\n',
        "# TYPE a counter\na 1 1700000000\n",
        "# TYPE a counter\na one\n",
        '# TYPE a counter\na{x="1} 1\n',
        '# TYPE a counter\na{x="\\q"} 1\n',
        '# TYPE a counter\na{x="1"} 1\n# TYPE b counter\na{x="2"} 1\n',
        "# TYPE a counter\na_bucket 1\n",
        "# TYPE a thing\na 1\n",
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(PrometheusTextError):
        parse(text)


def _expected(*series: tuple[dict[str, str], float]) -> dict[str, Any]:
    return {"type": "counter", "series": [{"labels": labels, "value": value} for labels, value in series]}


_TEXT = parse('# TYPE a counter\na{x="1",y="2"} 3\na{x="2",y=""} 4\n')


@pytest.mark.parametrize(
    ("match", "expected", "same"),
    [
        ("exact", _expected(({"x": "1", "y": "2"}, 3), ({"x": "2", "y": ""}, 4)), True),
        ("exact", _expected(({"y": "2", "x": "1"}, 3), ({"x": "2", "y": ""}, 4)), False),
        ("exact", _expected(({"x": "1", "y": "2"}, 3)), False),
        ("exact", _expected(({"x": "1", "y": "2"}, 3), ({"x": "2", "y": ""}, 5)), False),
        ("exact", _expected(({"x": "1", "y": "2"}, 3), ({"x": "2"}, 4)), False),
        ("partial", _expected(({"x": "2", "y": ""}, 4)), True),
        ("partial", _expected(({"x": "2", "y": ""}, 3)), False),
        ("exists", {}, True),
        ("absent", {}, False),
    ],
)
def test_matching(match: str, expected: dict[str, Any], same: bool) -> None:
    assert (differences(_TEXT, "a", match, expected) == []) == same


def test_matching_of_a_missing_family() -> None:
    assert differences(_TEXT, "b", "absent", {}) == []
    assert differences(_TEXT, "b", "exists", {}) != []
    assert differences(_TEXT, "b", "exact", _expected()) != []


def test_exact_minds_type_and_help() -> None:
    assert differences(parse("# TYPE a gauge\na 1\n"), "a", "exact", _expected(({}, 1))) != []
    assert differences(parse("# HELP a b\n# TYPE a counter\na 1\n"), "a", "exact", _expected(({}, 1))) != []
