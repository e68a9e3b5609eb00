"""Texts that others chose, made fit to be shown: a terminal obeys control characters, and a page is read by its lines."""

from __future__ import annotations


def printable(text: str) -> str:
    """`?` in place of each character that is not printable: controls, line separators, changes of direction."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def printable_lines(text: str) -> str:
    """As `printable`, for a text of several lines."""
    return "\n".join(map(printable, text.split("\n")))
