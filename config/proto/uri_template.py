"""URI templates for paths (envoy.extensions.path.match.uri_template.v3): `/videos/*/{name}/**.mpd` as a regular expression."""

from __future__ import annotations

import re
from typing import Any, Final

from config.model.matching import StringMatcher, StringMatchKind
from config.proto.fields import declare
from config.proto.path import Path
from config.proto.typed_config import ExtensionTable

_CONFIG: Final = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
_MAX_VARIABLES: Final = 5
_MAX_NAME_CHARS: Final = 16

declare(_CONFIG, "path_template")

#: What a path segment may hold (RFC 3986 pchar without `*` and `=`).
_CHARACTERS: Final = "a-zA-Z0-9\\-._~%!$&'()+,;:@"
_ONE_SEGMENT: Final = f"[{_CHARACTERS}]+"
_ANY_SEGMENTS: Final = f"[{_CHARACTERS}/]*"
_LITERAL: Final = re.compile(_ONE_SEGMENT)
_VARIABLE: Final = re.compile(r"\{([A-Za-z][A-Za-z0-9_]*)(?:=([^}]+))?\}")
_PRINTABLE: Final = re.compile(r"/[!-~]*")


def template_regex(template: str) -> str:
    """RE2 for the whole path without its query. Raises ValueError, with a message for people, as Envoy refuses it."""
    if _PRINTABLE.fullmatch(template) is None:
        raise ValueError("must begin with / and hold printable ASCII only")
    return "/" + _Reader().segments(template[1:], has_variables=True)


class _Reader:
    """Reads one template; what must not occur twice is kept here."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._saw_rest = False  # `**`, behind which there is no other operator

    def segments(self, text: str, *, has_variables: bool) -> str:
        """`a/*/b`, or what stands behind the `=` of a variable."""
        out: list[str] = []
        segments = text.split("/")
        if has_variables:
            segments = _split_outside_braces(text)
        for at, segment in enumerate(segments):
            is_last = at == len(segments) - 1
            if not segment and is_last and (has_variables or not out):
                out.append("")  # `/` at the end
            else:
                out.append(self._segment(segment, is_last, has_variables))
        return "/".join(out)

    def _segment(self, text: str, is_last: bool, has_variables: bool) -> str:
        if _LITERAL.fullmatch(text) is not None:
            return re.escape(text)
        variable = _VARIABLE.match(text) if has_variables else None
        if variable is not None:
            regex, end = self._variable(variable), variable.end()
        elif text.startswith("*"):
            end = 2 if text.startswith("**") else 1
            regex = self._operator(is_rest=end == 2)
        else:
            raise ValueError(f"'{text}' is neither a literal, nor *, ** or a variable")
        suffix = text[end:]
        if suffix and (not is_last or not has_variables or _LITERAL.fullmatch(suffix) is None):
            raise ValueError(f"'{text}': only at the end a literal may follow in the same segment")
        return regex + re.escape(suffix)

    def _operator(self, *, is_rest: bool) -> str:
        if self._saw_rest:
            raise ValueError("nothing but literals may follow **")
        self._saw_rest = is_rest
        return _ANY_SEGMENTS if is_rest else _ONE_SEGMENT

    def _variable(self, variable: re.Match[str]) -> str:
        name, pattern = variable[1], variable[2]
        if name in self._names:
            raise ValueError(f"the variable '{name}' stands there twice")
        if len(name) > _MAX_NAME_CHARS:
            raise ValueError(f"the name of a variable is longer than {_MAX_NAME_CHARS} characters")
        if len(self._names) == _MAX_VARIABLES:
            raise ValueError(f"more than {_MAX_VARIABLES} variables")
        self._names.add(name)
        if pattern is None:
            return self._operator(is_rest=False)
        return self.segments(pattern, has_variables=False)


def _split_outside_braces(text: str) -> list[str]:
    return re.split(r"/(?![^{]*\})", text)


def _translate(msg: Any, at: Path) -> StringMatcher:
    try:
        regex = template_regex(msg.path_template)
    except ValueError as error:
        at.field("path_template").error(f"not a path template: {error}")
        regex = ""
    return StringMatcher(StringMatchKind.REGEX, regex)


URI_TEMPLATES: Final = ExtensionTable[StringMatcher]("a URI template matcher", {_CONFIG: _translate})
"""Translates a `TypedExtensionConfig`'s `typed_config`."""
