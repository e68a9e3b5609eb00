"""What an admin endpoint is: a path, a help line, a handler."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol, cast
from urllib.parse import unquote

import msgspec
import re2

from protocols.http.headers import Headers

TEXT: Final = b"text/plain; charset=UTF-8"
JSON: Final = b"application/json"


class AdminRequest(msgspec.Struct, frozen=True):
    """`query`: decoded parameters, the last of each name; a parameter without `=` has the value ""."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Headers | None = None

    def header(self, name: bytes) -> str:
        """The value of a header (lower case), "" if there is none; of several, joined by commas."""
        if self.headers is None:
            return ""
        return (self.headers.joined(name) or b"").decode("latin-1")

    def flag(self, name: str) -> bool:
        return name in self.query


class AdminResponse(msgspec.Struct, frozen=True):
    """`body` is text, or pieces of it that are made while they are sent, so that traffic is served in between.

    An empty piece is a pause: nothing is sent, and traffic is served.
    `after` is called when the answer is on its way (the process may end then).
    """

    body: str | Iterable[str] | Iterable[bytes] = ""
    status: int = 200
    content_type: bytes = TEXT
    after: Callable[[], None] | None = None


class Pattern(Protocol):
    """A compiled regular expression."""

    def search(self, text: str) -> object: ...


def compile_pattern(text: str) -> Pattern:
    """What an operator typed, as RE2; it does not write to the log by itself. Raises re2.error."""
    options = re2.Options()
    options.log_errors = False
    return cast("Pattern", re2.compile(text, options))


def json_response(value: object, status: int = 200) -> AdminResponse:
    """JSON as Envoy prints it: one blank of indentation, snake case, a newline at the end."""
    return AdminResponse(json.dumps(value, indent=1, ensure_ascii=False) + "\n", status, JSON)


class Endpoint(msgspec.Struct, frozen=True):
    """`parameters`: name -> help. `mutates`: only by POST."""

    path: str
    help: str
    handler: Callable[[AdminRequest], AdminResponse]
    mutates: bool = False
    parameters: Mapping[str, str] = msgspec.field(default_factory=dict)


def parse_target(method: bytes, target: bytes, headers: Headers | None = None) -> AdminRequest:
    """Split and decode a request target. `+` stays `+`: filters are regular expressions, not forms."""
    path, _, query = target.decode("latin-1").partition("?")
    parameters: dict[str, str] = {}
    for item in filter(None, query.split("&")):
        name, _, value = item.partition("=")
        parameters[unquote(name)] = unquote(value)
    return AdminRequest(method.decode("latin-1"), path, parameters, headers)
