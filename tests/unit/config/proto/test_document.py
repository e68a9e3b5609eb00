"""Text as plain values, and places in the text."""

from __future__ import annotations

import pytest

from config.errors import Position
from config.proto.document import (
    Document,
    DocumentLocator,
    Source,
    camel_case,
    parse_integer,
    read_document,
)
from config.proto.path import Context, MapKey, Path, Problems


def read(text: str, name: str = "a.yaml") -> tuple[Document | None, list[str]]:
    problems = Problems()
    document = read_document(Source(name, text), problems, Path(Context(problems)))
    return document, [str(error) for error in problems.errors]


def value(text: str, name: str = "a.yaml") -> object:
    document, errors = read(f"x: {text}", name)
    assert errors == []
    assert document is not None
    return document.value["x"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", 5),
        ("-5", -5),
        ("+5", 5),
        ("010", 8),
        ("0x1F", 31),
        ("09", "09"),
        ("0o10", "0o10"),
        ("1_0", "1_0"),
        ("1.5", "1.5"),
        ("2147483648", "2147483648"),
        ("٣", "٣"),
        ("yes", True),
        ("Off", False),
        ("y", True),
        ("oN", "oN"),
        ("~", None),
        ("null", None),
        ("", None),
        ("'5'", "5"),
        ('"yes"', "yes"),
        ("'null'", "null"),
        ("|\n  a\n  b", "a\nb"),
        ("[1, {a: b}]", [1, {"a": "b"}]),
        ('"\\ud83d\\ude00"', "😀"),
        ("{a: 1,}", {"a": 1}),
        ("&a [1, 2]", [1, 2]),
    ],
)
def test_scalars_get_the_types_envoy_gives_them(text: str, expected: object) -> None:
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1.5", 1.5), ("1e2", 100.0), ("5000000000", 5000000000), ("05", 5), ("true", True)],
)
def test_numbers_of_json(text: str, expected: object) -> None:
    assert value(text, "a.json") == expected


def test_anchors_and_merge_keys() -> None:
    document, errors = read("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [*a, {z: 4}]}\n")
    assert errors == []
    assert document is not None
    assert document.value["b"] == {"x": 1, "y": 3}
    assert document.value["c"] == {"x": 1, "y": 2, "z": 4}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: &a [*a]", "a.yaml:1:4: a[0]: an alias that contains itself"),
        ("a: 1\na: 2", "a.yaml:2:1: a: given twice"),
        ("a: {<<: 5}", "a.yaml:1:9: a: a merge key (<<) takes mappings only"),
        ("[1]: 2", "a.yaml:1:1: a key must be a scalar"),
        ("- a", "a.yaml:1:1: the configuration must be a mapping of fields"),
        ("", "a.yaml:1:1: the configuration is empty"),
        (
            "a: [\n  b: }",
            "a.yaml:2:6: not valid YAML or JSON: while parsing a flow node: did not find expected node content",
        ),
        ("a: \x00", "a.yaml:1:4: not valid YAML or JSON: control characters are not allowed"),
    ],
)
def test_mistakes_have_their_place(text: str, problem: str) -> None:
    assert read(text)[1] == [problem]


def test_text_that_is_not_unicode_is_refused() -> None:
    assert read("a: b\nc: d\ud800")[1] == ["a.yaml:2:5: not valid UTF-8"]


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 100_000,
        "- " * 100_000,
        "{a: " * 100_000,
        "a: " + "[" * 3000 + "]" * 3000,
        "a: " + "[" * 150 + "]" * 150 + "\nb: " + "[" * 400 + "]" * 400,
    ],
)
def test_deep_nesting_is_refused(text: str) -> None:
    assert len(read(text)[1]) == 1


def test_aliases_cannot_blow_up() -> None:
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 9)]
    document, errors = read("\n".join(lines))
    assert document is None
    assert len(errors) == 1
    assert "expands to more than" in errors[0]


def locator(*texts: str) -> DocumentLocator:
    documents = []
    for number, text in enumerate(texts):
        document, errors = read(text, f"{number}.yaml")
        assert document is not None
        assert errors == []
        documents.append(document)
    return DocumentLocator(documents)


class TestLocator:
    def test_values_and_keys(self) -> None:
        find = locator("a:\n  b: {cD: 5}\n")
        assert find(("a", "b", "c_d"), False) == Position("0.yaml", 2, 11)
        assert find(("a", "b", "c_d"), True) == Position("0.yaml", 2, 7)

    def test_what_was_not_written_is_at_what_encloses_it(self) -> None:
        assert locator("a:\n  b: {}\n")(("a", "b", "c", "d"), False) == Position("0.yaml", 2, 6)

    def test_map_keys_are_taken_literally(self) -> None:
        find = locator("a: {c_d: 1}")
        assert find(("a", MapKey("c_d")), True) == Position("0.yaml", 1, 5)
        assert find(("a", MapKey("cD")), True) == Position("0.yaml", 1, 4)

    def test_merged_keys_are_at_their_anchor(self) -> None:
        assert locator("a: &a {x: 1}\nb: {<<: *a}")(("b", "x"), False) == Position("0.yaml", 1, 11)

    def test_one_value_stands_for_a_list(self) -> None:
        assert locator("a: {b: 1}")(("a", 0, "b"), False) == Position("0.yaml", 1, 8)

    def test_lists_of_later_texts_follow_and_later_scalars_win(self) -> None:
        find = locator("a: [1, 2]\nb: 1", "a: [3]\nb: 2")
        assert find(("a", 1), False) == Position("0.yaml", 1, 8)
        assert find(("a", 2), False) == Position("1.yaml", 1, 5)
        assert find(("b",), False) == Position("1.yaml", 2, 4)

    def test_a_path_of_a_later_text_moves_when_merged(self) -> None:
        find = locator("a: [{b: [1]}, {}]\n")
        assert find.merged(("a", 0, "b", 0)) == ("a", 2, "b", 0)
        assert find.merged(("c", 0)) == ("c", 0)
        assert find.merged(("a",)) == ("a",)


def test_camel_case() -> None:
    assert camel_case("a_long_name") == "aLongName"
    assert camel_case("name") == "name"


@pytest.mark.parametrize("text", ["", "x", "0x", "1.0", "1e3", "9" * 50, "--5", " 5"])
def test_texts_that_are_no_integers(text: str) -> None:
    assert parse_integer(text) is None
