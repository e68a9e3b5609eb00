"""docs/configuration.md is current, and its examples are true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from config.bootstrap import Source, parse_bootstrap
from config.errors import ConfigErrors
from config.reference import BEGIN, END, render, update

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_made_part_is_current() -> None:
    text = PAGE.read_text()
    assert update(text) == text, "run the command in config/reference.py"


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="marks"):
        update("# Configuration\n")


def test_the_part_between_the_marks_is_replaced() -> None:
    assert update(f"head\n{BEGIN}old{END}tail\n") == f"head\n{BEGIN}\n{render()}{END}tail\n"


def test_the_example_gives_the_errors_shown() -> None:
    text = PAGE.read_text()
    (yaml,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    override = "{admin: {address: localhost:15000}}"
    assert f"`{override}`" in text
    with pytest.raises(ConfigErrors) as refused:
        parse_bootstrap([Source("proxy.yaml", yaml), Source("--config-yaml", override)])
    assert str(refused.value) == shown.removesuffix("\n")
