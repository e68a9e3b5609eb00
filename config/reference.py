"""The table of fields and extensions in docs/configuration.md, made from the declarations next to the translators.

A filter, so that this package opens no file; in the repository's root:

    python -m config.reference < docs/configuration.md > new.md && mv new.md docs/configuration.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final

from config.proto import (
    access_log,
    access_log_filter,
    access_log_formats,
    bootstrap,
    cluster,
    filter_overrides,
    http,
    listener,
    network,
    tls,
    tracing,
    uri_template,
)
from config.proto.fields import POLICIES, FieldPolicy, Policy
from config.proto.typed_config import ExtensionTable

BEGIN: Final = "<!-- made by `python -m config.reference`: do not edit below -->\n"
END: Final = "<!-- end of the made part -->\n"

EXTENSION_TABLES: Final[tuple[ExtensionTable[Any], ...]] = (
    listener.LISTENER_FILTERS,
    network.NETWORK_FILTERS,
    network.UPSTREAM_NETWORK_FILTERS,
    http.HTTP_FILTERS,
    filter_overrides.FILTER_OVERRIDES,
    uri_template.URI_TEMPLATES,
    access_log.ACCESS_LOGS,
    access_log_filter.ACCESS_LOG_FILTERS,
    access_log_formats.FORMATTERS,
    http.REQUEST_IDS,
    tracing.TRACERS,
    tracing.RESOURCE_DETECTORS,
    tracing.SAMPLERS,
    tls.DOWNSTREAM_SOCKETS,
    tls.UPSTREAM_SOCKETS,
    cluster.PROTOCOL_OPTIONS,
    cluster.LB_POLICIES,
    bootstrap.RESOURCE_MONITORS,
    bootstrap.BOOTSTRAP_EXTENSIONS,
)


def _extension_rows(table: ExtensionTable[Any]) -> Iterator[str]:
    for name in sorted(table.translators):
        yield f"| `{name}` | {Policy.HONOURED.value} | |"
    for name, note in sorted(table.skipped.items()):
        yield f"| `{name}` | {Policy.IGNORED.value} | {note} |"
    for name, note in sorted(table.skipped_if_empty.items()):
        yield f"| `{name}` | {Policy.IGNORED.value} without configuration, else {Policy.REFUSED.value} | {note} |"
    if table.skip_others:
        yield f"| any other | {Policy.IGNORED.value} | {table.skip_others} |"


def _field_row(name: str, entry: FieldPolicy) -> str:
    return f"| `{name}` | {entry.policy.value} | {entry.note} |"


def render() -> str:
    """All extension types and all fields, as Markdown."""
    lines = ["## Extensions", ""]
    for table in EXTENSION_TABLES:
        title = table.what.removeprefix("an ").removeprefix("a ")
        lines += [f"### As {table.what}" if title != table.what else f"### {title.capitalize()}", ""]
        lines += ["| type | what is done | note |", "| --- | --- | --- |", *_extension_rows(table), ""]
    lines += ["## Fields", ""]
    for message in sorted(POLICIES):
        fields = POLICIES[message]
        lines += [f"### `{message}`", ""]
        if not fields:
            lines += ["No fields.", ""]
            continue
        lines += ["| field | what is done | note |", "| --- | --- | --- |"]
        lines += [_field_row(name, fields[name]) for name in sorted(fields)]
        lines.append("")
    return "\n".join(lines)


def update(text: str) -> str:
    """`text` with the part between the two marks made anew."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError("the marks of the made part are missing")
    return f"{head}{BEGIN}\n{render()}{END}{tail}"


if __name__ == "__main__":
    sys.stdout.write(update(sys.stdin.read()))
