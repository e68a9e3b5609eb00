"""Every rule has its test here (those of histogram bounds and of custom metrics are elsewhere)."""

from __future__ import annotations

import re
from pathlib import Path

RULES = {"OOM": 6, "EGW": 5, "TCP": 6, "BH": 9}


def test_every_rule_is_shown() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    shown = re.findall(r'^@rule\("([A-Z]+-\d)"\)$', text, re.MULTILINE)
    assert set(shown) == {
        f"{group}-{number}" for group, count in RULES.items() for number in range(1, count + 1)
    }
