"""Where in the configuration a file is named: for problems with files, which are found when everything is read and translated."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from config.errors import Position
from config.proto.document import Document, DocumentLocator, Source, read_document
from config.proto.path import Context, Path, Problems, Step

#: The fields that name a file or a variable, in a bootstrap and in a workload file.
_NAMING_FIELDS: Final = frozenset(
    [
        "filename",
        "path",
        "environment_variable",
        "environmentVariable",
        "certificate",
        "private_key",
        "ca",
        "access_log",
        "workload_discovery",
    ]
)
#: A problem that has a place already, in a file that the configuration names.
_HAS_PLACE: Final = re.compile(r"\S+:\d+:\d+: ")
#: Of whom a problem is told.
_OWNER: Final = re.compile(r"(listener|cluster) (.+?): ")


class _Named(NamedTuple):
    """A file named by a field: as it was written, and as it is opened."""

    steps: tuple[Step, ...]
    owner: str  # `listener NAME`, `cluster NAME`, or ""
    text: str
    path: str
    position: Position | None


def with_places(problems: Iterable[str], sources: Sequence[Source], directory: str = "") -> list[str]:
    """The problems, each with `source:line:column: field: ` in front if it speaks of a file that a field names.

    `sources`: what people have written, read before without a mistake. `directory`: where relative names are looked for, "" if
    that is where the process runs.
    """
    named = [each for document in _documents(sources) for each in _files_of(document, directory)]
    return [_with_place(problem, named) for problem in problems]


def _documents(sources: Sequence[Source]) -> Iterator[Document]:
    for source in sources:
        problems = Problems()
        document = read_document(source, problems, Path(Context(problems)))
        if document is not None:
            yield document


def _files_of(document: Document, directory: str) -> Iterator[_Named]:
    locate = DocumentLocator([document])
    for steps, owner, text in _strings(document.value, (), ""):
        path = posixpath.join(directory, text) if directory else text
        yield _Named(steps, owner, text, path, locate(steps, False))


def _strings(
    value: object, steps: tuple[Step, ...], owner: str
) -> Iterator[tuple[tuple[Step, ...], str, str]]:
    if isinstance(value, dict):
        if len(steps) == 3 and steps[0] in ("static_resources", "staticResources"):
            owner = f"{str(steps[1]).removesuffix('s')} {value.get('name', '')}"
        for name, each in value.items():
            if isinstance(each, str) and name in _NAMING_FIELDS:
                yield (*steps, name), owner, each
            else:
                yield from _strings(each, (*steps, name), owner)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _strings(each, (*steps, index), owner)


def _with_place(problem: str, named: Sequence[_Named]) -> str:
    if _HAS_PLACE.match(problem):
        return problem
    found = [each for each in named if _speaks_of(problem, each.path) or _speaks_of(problem, each.text)]
    if not found:
        return problem
    owner = match[0].removesuffix(": ") if (match := _OWNER.match(problem)) else ""
    # the longest name, as others may be parts of it; of several fields with the same name that of whom it is told
    best = max(found, key=lambda each: (len(each.path), each.owner == owner))
    field = ""
    for step in best.steps:
        field += f"[{step}]" if isinstance(step, int) else f".{step}" if field else str(step)
    return f"{best.position}: {field}: {problem}" if best.position else problem


def _speaks_of(problem: str, name: str) -> bool:
    return bool(name) and re.search(rf"(?:^|[\s'\"]){re.escape(name)}(?=$|[\s:,;'\"])", problem) is not None
