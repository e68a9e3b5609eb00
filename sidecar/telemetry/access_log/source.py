"""Operators as Python source: those of one format become one function, which costs half of what a call for each of them does.

A source is an expression over `info`, a StreamInfo, with `{name}` for each constant that it needs. It is this package's own text:
nothing of a configuration or of a peer ever becomes part of it, all that is a constant.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from types import CodeType
from typing import Any, Final, NamedTuple, TypeAlias, cast

from sidecar.stream_info import StreamInfo

Operator: TypeAlias = Callable[[StreamInfo], bytes]
Columns: TypeAlias = Callable[[StreamInfo], tuple[bytes, ...]]


class Source(NamedTuple):
    """What an operator is made of."""

    text: str
    constants: Mapping[str, object]

    def named(self, prefix: str) -> str:
        """The expression, its constants under names of their own."""
        return self.text.format_map({name: prefix + name for name in self.constants})


def operator_of(text: str, **constants: object) -> Operator:
    """The operator that gives the value of an expression; of bytes."""
    source = Source(text, constants)
    operator: Any = eval(_compiled(f"lambda info: {source.named('')}", "eval"), {**constants})
    operator.source = source
    return cast("Operator", operator)


#: What most columns of a line begin with: looked up once.
_SHARED: Final = {
    "request_headers": re.compile(r"\binfo\.request_headers\b"),
    "response_headers": re.compile(r"\binfo\.response_headers\b"),
    "connection": re.compile(r"\binfo\.connection\b"),
    "upstream": re.compile(r"\binfo\.upstream\b"),
}


def columns_of(operators: Sequence[Operator]) -> Columns:
    """The values of all operators as one function. Those that are no source are called."""
    constants: dict[str, object] = {}
    parts: list[str] = []
    for number, operator in enumerate(operators):
        prefix = f"c{number}_"
        source: Source = getattr(operator, "source", None) or Source("{read}(info)", {"read": operator})
        parts.append(f"({source.named(prefix)}),")
        constants.update((prefix + name, value) for name, value in source.constants.items())
    values = "\n  ".join(parts)
    head = []
    for name, pattern in _SHARED.items():
        values, count = pattern.subn(name, values)
        if count:
            head.append(f" {name} = info.{name}\n")
    text = f"def columns(info):\n{''.join(head)} return (\n  {values}\n )\n"
    exec(_compiled(text, "exec"), constants)
    return cast("Columns", constants["columns"])


@functools.lru_cache(maxsize=1024)
def _compiled(text: str, mode: str) -> CodeType:
    """Many listeners have the same format."""
    return compile(text, "<columns of a log format>", mode)
