"""Path rules: what a request target is turned into before anything looks at it, so that routing, authorization and the
upstream judge the same path.

The rules and their order are Envoy's: fragment, escaped slashes, normalisation, merged slashes. Only the path is touched,
never the query. All of it takes time linear in the length of the target.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final


class EscapedSlashes(enum.Enum):
    """What to do with %2F and %5C in a path (Envoy: `path_with_escaped_slashes_action`)."""

    KEEP_UNCHANGED = 0
    REJECT_REQUEST = 1
    UNESCAPE_AND_REDIRECT = 2
    UNESCAPE_AND_FORWARD = 3


class PathVerdict(enum.Enum):
    """What to do with the request."""

    FORWARD = enum.auto()
    REJECT = enum.auto()  # 400 (gRPC: INTERNAL), details `path_normalization_failed`
    REDIRECT = enum.auto()  # 307 to the new path (gRPC: INTERNAL), the same details


@dataclass(frozen=True, slots=True)
class PathRules:
    """Envoy's `normalize_path`, `merge_slashes` and `path_with_escaped_slashes_action`.

    `strip_fragment`: cut `#...` off instead of refusing the request (Envoy's runtime flag
    `http_reject_path_with_fragment` turned off).
    """

    normalize: bool = False
    merge_slashes: bool = False
    escaped_slashes: EscapedSlashes = EscapedSlashes.KEEP_UNCHANGED
    strip_fragment: bool = False


_NUL: Final = 0
_PERCENT: Final = ord("%")
#: In a target without any of these no rule changes anything.
_SUSPECT: Final = re.compile(rb"[\x00%\\#\"<>^`{|}]|/[./]")
_ESCAPED_SLASH: Final = re.compile(rb"%(?:2[fF]|5[cC])")
_SLASHES: Final = re.compile(rb"//+")
_DOT_SEGMENT: Final = re.compile(rb"\.\.?(?:;.*)?", re.DOTALL)

_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_TO_ESCAPE: Final = re.compile(rb"[\x00-\x20\"<>^`{|}\x7f-\xff]")
_DECODED: Final = {b"%02x" % octet: bytes((octet,)) if octet in _UNRESERVED else None for octet in range(256)}


def split_path(target: bytes) -> tuple[bytes, bytes]:
    """The path, and the query with its question mark (b"" if there is none)."""
    at = target.find(b"?")
    return (target, b"") if at < 0 else (target[:at], target[at:])


def apply_path_rules(target: bytes, rules: PathRules) -> tuple[bytes, PathVerdict]:
    """The target to use from now on, and what to do. Nothing but a path that begins with a slash is touched."""
    if _SUSPECT.search(target) is None:
        return target, PathVerdict.FORWARD
    at = target.find(b"#")
    if at >= 0:
        if not rules.strip_fragment:
            return target, PathVerdict.REJECT
        target = target[:at]
    if not target.startswith(b"/"):
        return target, PathVerdict.FORWARD
    path, query = split_path(target)
    verdict = PathVerdict.FORWARD
    if rules.escaped_slashes is not EscapedSlashes.KEEP_UNCHANGED and _ESCAPED_SLASH.search(path):
        if rules.escaped_slashes is EscapedSlashes.REJECT_REQUEST:
            return target, PathVerdict.REJECT
        path = _ESCAPED_SLASH.sub(_unescape_slash, path)
        if rules.escaped_slashes is EscapedSlashes.UNESCAPE_AND_REDIRECT:
            verdict = PathVerdict.REDIRECT
    if rules.normalize:
        normalized = normalize_path(path)
        if normalized is None:
            return target, PathVerdict.REJECT
        path = normalized
    if rules.merge_slashes:
        path = _SLASHES.sub(b"/", path)
    return path + query, verdict


def _unescape_slash(match: re.Match[bytes]) -> bytes:
    return b"/" if match[0][1] == 0x32 else b"\\"


def normalize_path(path: bytes) -> bytes | None:
    """Envoy's BASE normalisation of a path that begins with a slash; None: it holds NUL and is to be refused.

    Escapes of unreserved characters are decoded (RFC 3986 section 6.2.2.2), other escapes stay as they are, characters that
    may not be in a path are escaped, a backslash is a slash, dot segments are removed (section 5.2.4), also those with
    parameters (`..;x=1`). Empty segments stay. Unlike Envoy, a dot segment with parameters is found also when its dots were
    escaped: normalising twice changes nothing.
    """
    if _NUL in path:
        return None
    if _PERCENT in path:
        if path.find(b"%00") >= 0:
            return None
        path = _decode_unreserved(path)
    path = _TO_ESCAPE.sub(_escape, path).replace(b"\\", b"/")
    if path.find(b"/.") < 0:
        return path
    return _remove_dot_segments(path)


def _decode_unreserved(path: bytes) -> bytes:
    """Decode once. A bare percent sign that would begin an escape only by what was decoded behind it becomes %25."""
    pieces: list[bytes] = []
    last = 0
    for match in _ESCAPE.finditer(path):
        pieces.append(_guard_percent(path[last : match.start()]))
        decoded = _DECODED[match[1].lower()]
        pieces.append(match[0] if decoded is None else decoded)
        last = match.end()
    pieces.append(_guard_percent(path[last:]))
    text = b"".join(pieces)
    return _FORMED.sub(b"%25", text).replace(_MARK, b"%")


#: While decoding, a bare percent sign is written as this octet, which no target may hold.
_MARK: Final = b"\x00"
_FORMED: Final = re.compile(rb"\x00(?=[0-9A-Fa-f]{2})")


def _guard_percent(text: bytes) -> bytes:
    return text.replace(b"%", _MARK)


def _escape(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match[0][0]


def _remove_dot_segments(path: bytes) -> bytes:
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if _DOT_SEGMENT.fullmatch(segment) is None:
            kept.append(segment)
        elif segment.startswith(b"..") and kept:
            kept.pop()
    if _DOT_SEGMENT.fullmatch(segments[-1]) is not None:
        kept.append(b"")
    return b"/" + b"/".join(kept)
