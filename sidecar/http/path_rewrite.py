"""Path rewriting of forwarding routes and redirects: prefix or RE2 regex, the query stays."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

import re2

from config.model.route import RegexRewrite
from sidecar.policy.matching import MatcherError, encode_text

PathRewrite: TypeAlias = Callable[[bytes], bytes]

_HASH: Final = ord("#")


def compile_path_rewrite(
    prefix_rewrite: str, regex_rewrite: RegexRewrite | None, matched_prefix: bytes | None
) -> PathRewrite | None:
    """None when there is nothing to rewrite.

    `matched_prefix` is what `prefix_rewrite` replaces; None: the whole path without the query (exact and regex matches).
    Raises MatcherError.
    """
    if prefix_rewrite:
        replacement = encode_text(prefix_rewrite)
        if matched_prefix is None:
            return lambda path: replacement + path[len(path_only(path)) :]
        length = len(matched_prefix)
        return lambda path: replacement + path[length:]
    if regex_rewrite is not None:
        return _regex(regex_rewrite)
    return None


def path_only(path: bytes) -> bytes:
    """The path without query and fragment."""
    query = path.find(b"?")
    if query >= 0:
        path = path[:query]
    return path.partition(b"#")[0] if _HASH in path else path


def _regex(rewrite: RegexRewrite) -> PathRewrite:
    """Every match in the path is replaced. Raises MatcherError for a pattern that RE2 refuses."""
    options = re2.Options()
    options.log_errors = False
    try:
        pattern = re2.compile(encode_text(rewrite.pattern), options)
    except re2.error as error:
        raise MatcherError(f"invalid regular expression {rewrite.pattern!r}: {error}") from None
    replacement = _replacement(encode_text(rewrite.substitution))

    def rewritten(path: bytes) -> bytes:
        just_path = path_only(path)
        result: bytes = pattern.sub(replacement, just_path)
        return result + path[len(just_path) :]

    return rewritten


class _Match(Protocol):
    def group(self, index: int) -> bytes | None: ...


_REFERENCE: Final = re.compile(rb"\\([0-9\\])")


def _replacement(substitution: bytes) -> Callable[[_Match], bytes]:
    r"""RE2's substitution language: `\0` the whole match, `\1` to `\9` the groups, `\\` a backslash."""
    pieces: list[bytes | int] = []
    at = 0
    for found in _REFERENCE.finditer(substitution):
        pieces.append(substitution[at : found.start()])
        pieces.append(int(found[1]) if found[1].isdigit() else found[1])
        at = found.end()
    pieces.append(substitution[at:])
    parts = tuple(piece for piece in pieces if piece != b"")
    return lambda match: b"".join(
        [match.group(part) or b"" if isinstance(part, int) else part for part in parts]
    )
