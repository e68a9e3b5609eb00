"""`sidecar why`: what a response flag means, or what has failed in a running proxy."""

from __future__ import annotations

import difflib
import http.client
import re
import sys
import textwrap
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from sidecar.cli.health import split_address
from sidecar.cli.why_flags import DETAILS, FLAGS, looks

_WIDTH: Final = 110


def why(words: list[str], admin: str | None, timeout_s: float) -> int:
    """0, or 1 when a word is not known or the proxy does not answer."""
    asked = [word for each in words for word in each.split(",") if word]
    if admin is not None:
        return _running(admin, asked, timeout_s)
    if not asked:
        print(_table())
        return 0
    unknown = 0
    texts = []
    for word in asked:
        text = _explain(word)
        unknown += text is None
        texts.append(text if text is not None else "")
        if text is None:
            print(f"{word}: not a response flag{_guess(word)}", file=sys.stderr)
    print("\n\n".join(filter(None, texts)), end="\n" if any(texts) else "")
    return 1 if unknown else 0


def _explain(word: str) -> str | None:
    """None for a word that nobody knows."""
    flag = word.upper()
    if flag in FLAGS:
        explanation = FLAGS[flag]
        lines = [*_wrapped(f"{flag}: {explanation.meaning}", "")]
        for title, entries in (("usual causes", explanation.causes), ("look at", looks(flag))):
            lines += ["", f"  {title}"]
            for entry in entries:
                lines += _wrapped(entry, "    - ")
        return "\n".join(lines)
    details = re.split(r"[{\[(|]", word, maxsplit=1)[0].lower()
    if details in DETAILS:
        return "\n".join(_wrapped(f"{word}: {DETAILS[details]}", ""))
    return None


def _guess(word: str) -> str:
    close = difflib.get_close_matches(word.upper(), FLAGS, n=3, cutoff=0.5)
    close += difflib.get_close_matches(word.lower(), DETAILS, n=1, cutoff=0.7)
    return f"; did you mean {' or '.join(close)}?" if close else "; `sidecar why` lists all of them"


def _wrapped(text: str, bullet: str) -> Iterable[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=bullet,
        subsequent_indent=" " * (len(bullet) or 4),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _table() -> str:
    rows = [f"{flag:<6}{explanation.meaning}" for flag, explanation in sorted(FLAGS.items())]
    return "\n".join(
        [*rows, "", "sidecar why UC explains one; sidecar why --admin ADDRESS:PORT shows what has failed"]
    )


def _running(admin: str, flags: list[str], timeout_s: float) -> int:
    """The failures page of a running proxy, for all flags or for those that were named."""
    address = split_address(admin)
    if address is None:
        print(f"--admin {admin}: not ADDRESS:PORT", file=sys.stderr)
        return 1
    for flag in flags or [""]:
        query = f"?limit=20&flag={quote(flag)}" if flag else "?limit=20"
        try:
            connection = http.client.HTTPConnection(*address, timeout=timeout_s)
            connection.request("GET", f"/failures{query}")
            response = connection.getresponse()
            text = response.read().decode("utf-8", "replace")
        except (OSError, ValueError, http.client.HTTPException) as error:
            print(f"{admin}: {error}", file=sys.stderr)
            return 1
        print(text, end="")
        if response.status != 200:
            return 1
    return 0
