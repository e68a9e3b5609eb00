"""How problems print."""

from __future__ import annotations

from config.errors import ConfigError, ConfigErrors, Position


def test_an_error_says_where_which_and_what() -> None:
    error = ConfigError("node.id", "wrong", Position("a.yaml", 3, 7))
    assert str(error) == "a.yaml:3:7: node.id: wrong"


def test_parts_that_are_not_known_are_left_out() -> None:
    assert str(ConfigError("", "wrong", Position("a.yaml", 1, 1))) == "a.yaml:1:1: wrong"
    assert str(ConfigError("node", "wrong")) == "node: wrong"
    assert str(ConfigError("", "wrong")) == "wrong"


def test_errors_hold_all_of_them() -> None:
    errors = [ConfigError("a", "x"), ConfigError("b", "y")]
    raised = ConfigErrors(errors)
    assert raised.errors == tuple(errors)
    assert str(raised) == "a: x\nb: y"
