"""`sidecar why`: what a response flag, details or a kind mean, or what has failed in a running proxy."""

from __future__ import annotations

import difflib
import sys
import textwrap
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from sidecar.cli.admin_client import NoAnswer, ask
from sidecar.cli.why_details import KINDS, WORDS, explain
from sidecar.cli.why_flags import FLAGS, looks
from sidecar.telemetry.printable import printable

_WIDTH: Final = 110


def why(words: list[str], admin: str | None, timeout_s: float) -> int:
    """0, or 1 when a word is not known or the proxy does not answer."""
    asked = [word for each in words for word in _split(each) if word]
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
            print(
                f"{printable(word)}: no response flag, details or kind of failure{_guess(word)}",
                file=sys.stderr,
            )
    print("\n\n".join(filter(None, texts)), end="\n" if any(texts) else "")
    return 1 if unknown else 0


def _split(words: str) -> list[str]:
    """`UF,URX` are two; details may have commas in their braces."""
    return [words] if any(char in words for char in "{[|") else words.split(",")


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
    first, *more = explain(word) or [""]
    if not first:
        return None
    lines = [*_wrapped(f"{printable(word)}: {first}", "")]
    for each in more:
        lines += _wrapped(each, "    - ")
    return "\n".join(lines)


def _guess(word: str) -> str:
    close = difflib.get_close_matches(word.upper(), FLAGS, n=3, cutoff=0.5)
    close += difflib.get_close_matches(word.lower(), WORDS, n=2, cutoff=0.7)
    return f"; did you mean {' or '.join(close)}?" if close else "; `sidecar why` lists the flags"


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
        [
            *rows,
            "",
            "sidecar why UC explains one, and so it does details (http1.codec_error) and kinds (upstream_closed);",
            "sidecar why --admin ADDRESS:PORT shows what has failed",
        ]
    )


def _running(admin: str, words: list[str], timeout_s: float) -> int:
    """The failures page of a running proxy, for all or for the flags and kinds that were named. The proxy judges the words."""
    for word in words or [""]:
        name = "kind" if word.lower() in KINDS else "flag"
        chosen = f"&{name}={quote(word.lower() if name == 'kind' else word)}" if word else ""
        query = f"?limit=20{chosen}"
        try:
            answer = ask(admin, f"/failures{query}", timeout_s)
        except NoAnswer as error:
            print(error, file=sys.stderr)
            return 1
        if answer.status != 200:
            said = answer.text.rstrip("\n") or "nothing said: is this the admin address?"
            print(f"{admin}: status {answer.status}: {said}", file=sys.stderr)
            return 1
        print(answer.text, end="")
    return 0
