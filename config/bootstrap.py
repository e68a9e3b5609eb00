"""Bootstrap text (JSON or YAML, one or several) -> the Envoy message and the immutable model.

The steps: read every text into plain values, load each into a message, merge the messages as protobuf does, judge
the rules of Envoy's API on the whole, enforce what this proxy does with each field, translate. Every step reports
to the same list of problems, so a user sees all of them at once, each with its place in the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
from google.protobuf.message import Message

from config.errors import ConfigError, ConfigErrors, Position, Remark
from config.model.bootstrap import Bootstrap
from config.model.istio import IstioStatsSpec
from config.proto.bootstrap import BOOTSTRAP, translate_bootstrap
from config.proto.document import Document, DocumentLocator, Source, read_document
from config.proto.fields import check_fields
from config.proto.loader import fields_of, load_message
from config.proto.path import Context, Path, Problems
from config.proto.redaction import redact
from config.proto.rules import check_rules
from config.proto.types import message_class
from config.spelling import did_you_mean

__all__ = ["ParseOptions", "ParsedBootstrap", "Source", "parse_bootstrap", "redact"]


class ParseOptions(msgspec.Struct, frozen=True):
    """How to judge a bootstrap.

    `allow_unknown_static_fields`: unknown fields are warnings (Envoy's `--allow-unknown-static-fields`).
    `check_format`: what is wrong with a format string of an access log or header value, `None` if nothing is. The
    formats belong to those who write them, so they are judged only if this is given. `review_istio_stats`: what in a
    `stats.PluginConfig` can have no effect as far as those can tell who know metrics, labels and attributes.
    """

    allow_unknown_static_fields: bool = False
    check_format: Callable[[str, tuple[str, ...]], str | None] | None = None
    review_istio_stats: Callable[[IstioStatsSpec], Iterable[Remark]] | None = None


class ParsedBootstrap(msgspec.Struct, frozen=True):
    """The model, the message it came from (`envoy.config.bootstrap.v3.Bootstrap`), what was ignored, and the texts."""

    bootstrap: Bootstrap
    message: Message
    warnings: tuple[ConfigError, ...]
    sources: tuple[Source, ...] = ()


_FEW: Final = 3
#: What is said of a text that has none of a bootstrap's fields: it is the wrong file more often than a misspelt one.
_NO_BOOTSTRAP: Final = (
    "this does not look like a bootstrap: it has none of its fields (node, admin, static_resources, ...), nor the `workload` "
    "of a workload file"
)


def _is_something_else(document: Document, bootstrap: Message) -> bool:
    """None of a bootstrap's fields, and not just one or two that are misspelt."""
    known, given = fields_of(bootstrap.DESCRIPTOR), document.value
    if not given or not known.keys().isdisjoint(given):
        return False
    return len(given) > _FEW or not any(did_you_mean(name, known) for name in given)


def _in_text_order(problems: list[ConfigError], sources: Sequence[Source]) -> list[ConfigError]:
    order = {source.name: index for index, source in enumerate(sources)}

    def place(problem: ConfigError) -> tuple[int, int, int]:
        position = problem.position
        return (order.get(position.source, 0), position.line, position.column) if position else (-1, 0, 0)

    return sorted(problems, key=place)


DEFAULTS: Final = ParseOptions()


def parse_bootstrap(sources: Sequence[Source], options: ParseOptions = DEFAULTS) -> ParsedBootstrap:
    """Read, merge (later sources over earlier ones), check and translate.

    Messages merge, repeated fields append, scalars of a later source win. A source is the text of the file given by
    `-c`, or of `--config-yaml`; both may be JSON or YAML.

    Raises:
        ConfigErrors: with every problem found.
    """
    problems = Problems()
    context = Context(
        problems,
        allow_unknown_fields=options.allow_unknown_static_fields,
        check_format=options.check_format,
        review_istio_stats=options.review_istio_stats,
    )
    root = Path(context)
    documents: list[Document] = []
    bootstrap_class: Any = message_class(BOOTSTRAP)
    message = bootstrap_class()
    for source in sources:
        document = read_document(source, problems, root)
        if document is None:
            continue
        # A text is judged on its own first: a wrong field in one says nothing about another.
        problems.locate = DocumentLocator([document])
        earlier = problems.swap_taints(set())
        part = bootstrap_class()
        if _is_something_else(document, part):
            report = problems.warning if options.allow_unknown_static_fields else problems.error
            report(root, _NO_BOOTSTRAP, Position(source.name, 1, 1))
        load_message(document.value, part, root)
        message.MergeFrom(part)
        in_merged = DocumentLocator(documents).merged
        problems.swap_taints(earlier | {in_merged(steps) for steps in problems.swap_taints(set())})
        documents.append(document)
    if len(documents) == len(sources):
        problems.locate = DocumentLocator(documents)
        check_rules(message, root)
        check_fields(message, root)
        bootstrap = translate_bootstrap(message, root)
        if not problems.errors:
            warnings = tuple(_in_text_order(problems.warnings, sources))
            return ParsedBootstrap(bootstrap, message, warnings, tuple(sources))
    raise ConfigErrors(_in_text_order(problems.errors, sources))
