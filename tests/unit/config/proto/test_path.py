"""Field paths and the list of problems."""

from __future__ import annotations

from config.proto.path import Context, MapKey, Path, Problems


def test_paths_are_written_in_envoys_spelling() -> None:
    path = (
        Path(Context()).field("static_resources").item("listeners", 2).field("metadata").key("a.b").field("c")
    )
    assert str(path) == 'static_resources.listeners[2].metadata["a.b"].c'
    assert path.steps() == ("static_resources", "listeners", 2, "metadata", MapKey("a.b"), "c")
    assert str(Path(Context())) == ""


def test_nothing_more_is_said_about_a_wrong_field_or_below_it() -> None:
    problems = Problems()
    root = Path(Context(problems))
    root.field("a").error("first")
    root.field("a").error("second")
    root.field("a").field("b").error("below")
    root.field("c").error("beside")
    assert [str(error) for error in problems.errors] == ["a: first", "c: beside"]


def test_problems_of_the_whole_text_hide_nothing() -> None:
    problems = Problems()
    root = Path(Context(problems))
    root.error("first")
    root.error("second")
    assert [error.reason for error in problems.errors] == ["first", "second"]


def test_a_tainted_field_is_silent() -> None:
    problems = Problems()
    root = Path(Context(problems))
    problems.taint(root.field("a"))
    root.field("a").error("missed")
    assert problems.errors == []
