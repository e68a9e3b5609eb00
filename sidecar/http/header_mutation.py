"""Configured header edits (`request_headers_to_add`, `..._to_remove` and their response twins), compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from config.model.core import HeaderAppendAction, HeaderMutations, HeaderValueOption
from protocols.http.headers import Headers
from sidecar.stream_info import StreamInfo
from sidecar.telemetry.access_log.format import compile_format
from sidecar.telemetry.access_log.renderer import Renderer

#: Edits a header map. Formats read the stream's facts from the StreamInfo.
Mutator: TypeAlias = Callable[[Headers, StreamInfo], None]

_APPEND = HeaderAppendAction.APPEND_IF_EXISTS_OR_ADD
_ADD_IF_ABSENT = HeaderAppendAction.ADD_IF_ABSENT
_OVERWRITE_IF_EXISTS = HeaderAppendAction.OVERWRITE_IF_EXISTS


def no_mutation(headers: Headers, info: StreamInfo) -> None:
    """The mutator of a level without edits."""


def compile_request_mutations(levels: Iterable[HeaderMutations]) -> Mutator:
    """The request edits of several levels, applied in the order given. Raises FormatError."""
    return _chain([_compile(level.request_add, level.request_remove) for level in levels])


def compile_response_mutations(levels: Iterable[HeaderMutations]) -> Mutator:
    """The response edits of several levels, applied in the order given. Raises FormatError."""
    return _chain([_compile(level.response_add, level.response_remove) for level in levels])


def _chain(mutators: list[Mutator]) -> Mutator:
    working = [mutator for mutator in mutators if mutator is not no_mutation]
    if not working:
        return no_mutation
    if len(working) == 1:
        return working[0]
    steps = tuple(working)

    def mutate(headers: Headers, info: StreamInfo) -> None:
        for step in steps:
            step(headers, info)

    return mutate


class _Addition:
    """One header to add, with the decision whether and how made from the headers as they were before this level."""

    __slots__ = ("action", "keep_empty", "name", "render")

    def __init__(self, option: HeaderValueOption) -> None:
        self.name = option.key.encode()
        self.render: Renderer = compile_format(option.value, missing=b"")
        self.action = option.append_action
        self.keep_empty = option.keep_empty_value


def _compile(add: tuple[HeaderValueOption, ...], remove: tuple[str, ...]) -> Mutator:
    """One level: first the removals, then all values are computed, then overwrites, then additions (Envoy's order)."""
    if not add and not remove:
        return no_mutation
    removals = tuple(name.lower().encode() for name in remove)
    additions = tuple(_Addition(option) for option in add)

    def mutate(headers: Headers, info: StreamInfo) -> None:
        for name in removals:
            headers.remove(name)
        to_add: list[tuple[bytes, bytes]] = []
        to_set: list[tuple[bytes, bytes]] = []
        for addition in additions:
            value = addition.render(info)
            if not value and not addition.keep_empty:
                continue
            name, action = addition.name, addition.action
            if action is _APPEND:
                to_add.append((name, value))
            elif action is _ADD_IF_ABSENT:
                if name not in headers:
                    to_add.append((name, value))
            elif action is not _OVERWRITE_IF_EXISTS or name in headers:
                to_set.append((name, value))
        for name, value in to_set:
            headers.set(name, value)
        for name, value in to_add:
            headers.add(name, value)

    return mutate
