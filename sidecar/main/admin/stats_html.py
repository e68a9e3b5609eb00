"""`/stats?format=html` and `active-html`: the text page under a form with its parameters, for browsers.

Envoy's pages are larger; what they have in common is the address, the parameters and the lines.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from stats.admin_text import BucketMode, StatKind

CONTENT_TYPE: Final = b"text/html; charset=UTF-8"

#: An active page loads itself again after this long.
_REFRESH_S: Final = 5

_HEAD: Final = """<!DOCTYPE html>
<html lang='en'>
<head>
  <title>Sidecar Admin</title>
  <meta charset='utf-8'>%s
  <style>body { font-family: sans-serif } pre { font-size: 90%% }</style>
</head>
<body>
<form action='stats' method='get'>
"""


def render_html(lines: Iterable[str], query: Mapping[str, str], *, active: bool) -> Iterator[str]:
    """`lines`: the text page in pieces; "" is a pause. `active`: it loads itself again."""
    yield _HEAD % (f"\n  <meta http-equiv='refresh' content='{_REFRESH_S}'>" if active else "") + _form(query)
    yield "<pre>\n"
    for piece in lines:
        yield html.escape(piece)
    yield "</pre>\n</body>\n</html>\n"


def _form(query: Mapping[str, str]) -> str:
    used = " checked" if "usedonly" in query else ""
    pattern = html.escape(query.get("filter", ""))
    return (
        f"  <label><input type='checkbox' name='usedonly'{used}> used only</label>\n"
        f"  <label>filter <input type='text' name='filter' value='{pattern}' placeholder='RE2'></label>\n"
        + _choice("format", ["html", "active-html", "json", "prometheus", "text"], query)
        + _choice("type", [kind.value for kind in StatKind], query)
        + _choice("histogram_buckets", [mode.value for mode in BucketMode], query)
        + "  <button>show</button>\n</form>\n"
    )


def _choice(name: str, values: Iterable[str], query: Mapping[str, str]) -> str:
    options = "".join(
        f"<option{' selected' if query.get(name) == value else ''}>{value}</option>" for value in values
    )
    return f"  <label>{name} <select name='{name}'>{options}</select></label>\n"
