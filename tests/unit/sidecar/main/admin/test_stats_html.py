from __future__ import annotations

from html.parser import HTMLParser

from sidecar.main.admin.stats_html import render_html


class Reader(HTMLParser):
    """The text in `<pre>`, what is chosen, and whether every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.chosen: list[str] = []
        self.inputs: dict[str, dict[str, str | None]] = {}
        self.refreshes = False
        self._selected = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if tag == "input":
            self.inputs[values["name"] or ""] = values
        elif tag == "meta":
            self.refreshes = self.refreshes or values.get("http-equiv") == "refresh"
        else:
            self.open.append(tag)
            self._selected = tag == "option" and "selected" in values

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "pre":
            self.text += data
        elif self._selected:
            self.chosen.append(data)
            self._selected = False


def read(lines: list[str], query: dict[str, str], *, active: bool = False) -> Reader:
    reader = Reader()
    reader.feed("".join(render_html(lines, query, active=active)))
    reader.close()
    assert reader.open == []
    return reader


def test_lines_and_pauses() -> None:
    assert list(render_html(["a: 1\n", "", "b: 2\n"], {}, active=False)).count("") == 1
    assert read(["a: 1\n", "", "b: 2\n"], {}).text == "\na: 1\nb: 2\n"


def test_the_form_shows_what_was_asked_for() -> None:
    query = {
        "usedonly": "",
        "filter": "a'b",
        "format": "html",
        "type": "Gauges",
        "histogram_buckets": "disjoint",
    }
    reader = read([], query)
    assert reader.chosen == ["html", "Gauges", "disjoint"]
    assert "checked" in reader.inputs["usedonly"]
    assert reader.inputs["filter"]["value"] == "a'b"
    assert "checked" not in read([], {}).inputs["usedonly"]


def test_nothing_is_markup() -> None:
    evil = "<script>'\"&"
    reader = read([evil], {"filter": evil})
    assert reader.text == "\n" + evil
    assert reader.inputs["filter"]["value"] == evil


def test_an_active_page_loads_itself_again() -> None:
    assert read([], {}, active=True).refreshes
    assert not read([], {}).refreshes
