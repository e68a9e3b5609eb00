"""Tags: the variable parts of a stat name, cut out of it once, when the stat is made.

`cluster.ratings.upstream_rq_503` becomes `cluster.upstream_rq` with the tags `envoy.response_code=503` and
`envoy.cluster_name=ratings`. Every rule looks at the whole name; what any of them wants cut is cut in the end, so rules do
not depend on each other. Order, which is the order of labels in Prometheus, as in Envoy 1.40: first the rules that may fit
any name (default rules, then configured ones), then those bound to the name's first segment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from stats.metrics import Tags

#: A listener's address in a stat name: `10.0.0.1_80`, `[__1]_80`; else one segment.
_ADDRESS: Final = r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}_\d+|\[[a-fA-F_\d]+\]_\d+|[^.]+"

#: Envoy's default tags that need a regex: (tag without `envoy.`, what every name that fits contains, regex, value that does not
#: count). Group 1 is cut, group 2 is the value.
_REGEX_RULES: Final = (
    ("response_code", "_rq_", r"_rq(_(\d{3}))$", ""),
    ("response_code_class", "_rq_", r"_rq_((\d))xx$", ""),
    (
        "dynamo_partition_id",
        ".dynamodb.",
        r"^http\.[^.]+\.dynamodb\.table\.[^.]+\.capacity\.[^.]+(\.__partition_id=(\w{7}))$",
        "",
    ),
    (
        "dynamo_operation",
        ".dynamodb.",
        r"^http\.[^.]+\.dynamodb\.(?:operation|table\.[^.]+\.capacity)(\.([^.]+))(?:\.|$)",
        "",
    ),
    ("dynamo_table", ".dynamodb.", r"^http\.[^.]+\.dynamodb\.(?:table|error)\.(([^.]+)\.)", ""),
    ("ssl_cipher", ".ssl.ciphers.", r"^listener\..*?\.ssl\.ciphers(\.([\w-]+))$", ""),
    ("ssl_curve", ".ssl.curves.", r"^(?:listener|cluster)\..*?\.ssl\.curves(\.([\w-]+))$", ""),
    ("ssl_sigalg", ".ssl.sigalgs.", r"^(?:listener|cluster)\..*?\.ssl\.sigalgs(\.([\w-]+))$", ""),
    ("ssl_version", ".ssl.versions.", r"^(?:listener|cluster)\..*?\.ssl\.versions(\.(TLSv\d\.\d))$", ""),
    ("cipher_suite", ".ssl.ciphers.", r"^cluster\.[^.]+\.ssl\.ciphers(\.([\w-]+))$", ""),
    ("http_conn_manager_prefix", ".http.", r"^listener\..*?\.http\.(([^.]+)\.)", ""),
    (
        "worker_id",
        ".worker_",
        rf"^(?:listener\.(?:{_ADDRESS})|server|listener_manager|thread_local_cluster_manager)\.worker_((\d+)\.)",
        "",
    ),
    ("listener_address", "", rf"^listener\.(({_ADDRESS})\.)", "admin"),
    ("rds_route_config", ".rds.", r"^http\.[^.]+\.rds\.(([\w./-]+)\.)\w+$", ""),
    ("scoped_rds_config", ".scoped_rds.", r"^http\.[^.]+\.scoped_rds\.(([\w.-]+)\.)\w+$", ""),
    (
        "rbac_policy_name",
        "policy.",
        r"^http\.[^.]+\.rbac\.(?:[^.]+\.)?policy\.(([^.]+)\.)(?:shadow_)?(?:allowed|denied)$",
        "",
    ),
    ("rbac_http_prefix", ".rbac.", r"^http\.[^.]+\.rbac\.(([^.]+)\.)", "policy"),
    ("proxy_protocol_prefix", "", r"^proxy_proto\.(([^.]+)\.).", "versions"),
    ("proxy_protocol_version", "versions.v", r"^proxy_proto\.((?:[^.]+\.)?versions\.v(\d)\.)\w+$", ""),
    (
        "tls_certificate",
        ".ssl.certificate.",
        r"^(?:listener|cluster)\..*?\.ssl\.certificate\.(([^.]+)\.)",
        "",
    ),
    ("xds_resource_name", "", r"^sds\.(([^.]+)\.).", ""),
    ("health_check_name", ".health_check.name.", r"^cluster\.[^.]+\.health_check(\.name\.([^.]+))\..", ""),
)
#: The other default tags. Segments are separated by dots: `*` is one segment, `**` one or more, `<tag>` is one segment that becomes
#: the value of `envoy.<tag>` and is cut with its dot.
_SEGMENT_RULES: Final = (
    "mongo.*.collection.*.callsite.<mongo_callsite>.query.**",
    "mongo.*.collection.<mongo_collection>.**.query.*",
    "mongo.*.cmd.<mongo_cmd>.**",
    "cluster.*.grpc.*.<grpc_bridge_method>.**",
    "http.*.user_agent.<http_user_agent>.**",
    "vhost.*.vcluster.<virtual_cluster>.**",
    "http.*.fault.<fault_downstream_cluster>.**",
    "cluster.*.grpc.<grpc_bridge_service>.**",
    "tcp.<tcp_prefix>.**",
    "udp.<udp_prefix>.**",
    "auth.clientssl.<clientssl_prefix>.**",
    "ratelimit.<ratelimit_prefix>.**",
    "cluster.<cluster_name>.**",
    "cluster.*.ext_authz.<ext_authz_prefix>.**",
    "http.*.ext_authz.<ext_authz_prefix>.**",
    "http.<http_conn_manager_prefix>.**",
    "vhost.<virtual_host>.**",
    "mongo.<mongo_prefix>.**",
    "vhost.*.route.<route>.**",
    "thrift.<thrift_prefix>.**",
    "redis.<redis_prefix>.**",
    "<local_http_ratelimit_prefix>.http_local_rate_limit.**",
    "local_rate_limit.<local_network_ratelimit_prefix>.**",
    "listener_local_ratelimit.<local_listener_ratelimit_prefix>.**",
    "dns_filter.<dns_filter_prefix>.**",
    "connection_limit.<connection_limit_prefix>.**",
    "<rbac_prefix>.rbac.**",
    "grpc.<google_grpc_client_prefix>.**",
)


class TagRule(msgspec.Struct, frozen=True):
    """A configured tag (`stats_tags`): a regex, a fixed value, or neither for one of the default tags by its full name."""

    tag_name: str
    regex: str = ""
    fixed_value: str | None = None


class _Rule(msgspec.Struct, frozen=True):
    tag: str
    regex: str
    flags: re.RegexFlag
    literal: str  # must be in every name that matches; "" if unknown
    first_segment: str  # "" : any
    except_value: str = ""


#: What finds one tag: puts (start, end) of what to cut on the list, and returns the value; None if it does not match.
_Finder = Callable[[str, list[tuple[int, int]]], str | None]


class TagProducer:
    """The extractor for `stats.store.Store`, made of the default rules (unless turned off) and the configured ones.

    Several rules may have one tag name; the first that matches a name wins. A fixed value is put on every stat whose tags are
    extracted. Raises ValueError for a rule without a name, a regex that does not compile, and a name that is neither
    given a regex nor a default tag.
    """

    __slots__ = ("_any", "_by_segment", "_repeated")

    def __init__(self, rules: Iterable[TagRule] = (), use_all_default_tags: bool = True) -> None:
        self._any: list[tuple[str, str, _Finder]] = []  # (tag, literal, finder)
        self._by_segment: dict[str, list[tuple[str, str, _Finder]]] = {}
        names: list[str] = []
        if use_all_default_tags:
            for rule in DEFAULT_RULES:
                self._add(rule, names)
        for configured in rules:
            self._add_configured(configured, names)
        self._repeated = frozenset(name for name in names if names.count(name) > 1)

    def _add(self, rule: _Rule, names: list[str]) -> None:
        names.append(rule.tag)
        entry = (rule.tag, rule.literal, _finder(rule))
        if rule.first_segment:
            self._by_segment.setdefault(rule.first_segment, []).append(entry)
        else:
            self._any.append(entry)

    def _add_configured(self, configured: TagRule, names: list[str]) -> None:
        if not configured.tag_name:
            raise ValueError("tag_name cannot be empty")
        if configured.fixed_value is not None:
            value = configured.fixed_value
            names.append(configured.tag_name)
            self._any.append((configured.tag_name, "", lambda name, cuts: value))
        elif configured.regex:
            self._add(_configured_rule(configured), names)
        else:
            defaults = [rule for rule in DEFAULT_RULES if rule.tag == configured.tag_name]
            if not defaults:
                raise ValueError(
                    f"no regex for tag '{configured.tag_name}', which is none of the default tags either"
                )
            for rule in defaults:
                self._add(rule, names)

    def __call__(self, name: str) -> tuple[str, Tags]:
        """The name without what its tags say, and the tags."""
        tags: list[tuple[str, str]] = []
        cuts: list[tuple[int, int]] = []
        self._apply(self._any, name, tags, cuts)
        by_segment = self._by_segment.get(name[: name.find(".")])
        if by_segment is not None:
            self._apply(by_segment, name, tags, cuts)
        return (_without(name, cuts) if cuts else name), tuple(tags)

    def _apply(
        self,
        rules: list[tuple[str, str, _Finder]],
        name: str,
        tags: list[tuple[str, str]],
        cuts: list[tuple[int, int]],
    ) -> None:
        repeated = self._repeated
        for tag, literal, find in rules:
            if literal and literal not in name:
                continue
            if tag in repeated and any(tag == known for known, _ in tags):
                continue
            value = find(name, cuts)
            if value is not None:
                tags.append((tag, value))


def _finder(rule: _Rule) -> _Finder:
    pattern: re.Pattern[str] | None = (
        None  # most rules never meet a name that may fit, so none is compiled at the start
    )
    except_value = rule.except_value

    def find(name: str, cuts: list[tuple[int, int]]) -> str | None:
        nonlocal pattern
        if pattern is None:
            pattern = re.compile(rule.regex, rule.flags)
        match = pattern.search(name)
        if match is None:
            return None
        value = match.group(2 if pattern.groups > 1 else 1) or ""
        if except_value and value == except_value:
            return None
        start, end = match.span(1)
        if start < end:
            cuts.append((start, end))
        return value

    return find


def _without(name: str, cuts: list[tuple[int, int]]) -> str:
    if len(cuts) == 1:  # nearly always
        start, end = cuts[0]
        return name[:start] + name[end:]
    cuts.sort()
    parts = []
    at = 0
    for start, end in cuts:
        if start > at:
            parts.append(name[at:start])
        at = max(at, end)
    parts.append(name[at:])
    return "".join(parts)


def _configured_rule(configured: TagRule) -> _Rule:
    try:
        regex = _from_ecmascript(configured.regex)
        pattern = re.compile(regex, re.ASCII)
    except re.error as error:
        raise ValueError(
            f"tag '{configured.tag_name}': invalid regex '{configured.regex}': {error}"
        ) from None
    if pattern.groups == 0:
        # Envoy accepts it, and it never finds a value.
        regex = r"(?!)()"
    return _Rule(
        configured.tag_name, regex, re.ASCII, literal_of(configured.regex), _first_segment(configured.regex)
    )


_POSIX_CLASSES: Final = {
    "alnum": r"\da-zA-Z",
    "alpha": "a-zA-Z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "d": r"\d",
    "digit": r"\d",
    "graph": r"\x21-\x7e",
    "lower": "a-z",
    "print": r"\x20-\x7e",
    "punct": r"!-/:-@\[-`{-~",
    "s": r"\s",
    "space": r"\s",
    "upper": "A-Z",
    "w": r"\w",
    "xdigit": r"\da-fA-F",
}


def _from_ecmascript(regex: str) -> str:
    """An ECMAScript pattern, as Envoy reads tag regexes, for `re`.

    RE2 cannot be used: the regexes that Istio sends look ahead (`^listener(?=\\.)`), which RE2 refuses. POSIX classes are
    spelled out, characters that `re` reserves inside brackets are escaped, and `$` is the end, not a last line feed.
    """
    out: list[str] = []
    at = 0
    in_class = False
    while at < len(regex):
        char = regex[at]
        if char == "\\":
            out.append(regex[at : at + 2])
            at += 2
            continue
        if not in_class:
            in_class = char == "["
            out.append(r"\Z" if char == "$" else char)
        elif char == "[":
            end = regex.find(":]", at + 2) if regex.startswith("[:", at) else -1
            known = _POSIX_CLASSES.get(regex[at + 2 : end]) if end > 0 else None
            if known is not None:
                out.append(known)
                at = end + 2
                continue
            out.append(r"\[")
        elif char == "]":
            in_class = False
            out.append(char)
        else:
            out.append("\\" + char if char in "&~|" else char)
        at += 1
    return "".join(out)


def _first_segment(regex: str) -> str:
    """The first segment of the names that `regex` can match, if it begins with one: Envoy looks at these rules last."""
    match = re.match(r"\^(\w+)(?:\\\.|\(\?=\\\.\)|\$\Z)", regex, re.ASCII)
    return match.group(1) if match else ""


def literal_of(regex: str) -> str:
    """Text that every match contains, for a cheap look before the regex runs; "" when none is seen at its start."""
    if "|" in regex:
        return ""
    literal: list[str] = []
    at = 0
    while at < len(regex):
        char = regex[at]
        if char in "^(" and not regex.startswith("(?", at):
            at += 1
            continue
        if char == "\\" and at + 1 < len(regex) and not regex[at + 1].isalnum():
            char = regex[at + 1]
            at += 1
        elif not (char.isalnum() or char in "_=;,:-/ "):
            break
        at += 1
        if at < len(regex) and regex[at] in "*?{":
            break
        literal.append(char)
    return "".join(literal)


#: The one default tag that Envoy names without `envoy.`.
_BARE_TAGS: Final = frozenset({"cipher_suite"})


def _default_rules() -> tuple[_Rule, ...]:
    by_regex = [
        _Rule(
            tag if tag in _BARE_TAGS else f"envoy.{tag}",
            regex,
            re.ASCII,
            literal,
            _first_segment(regex),
            except_value,
        )
        for tag, literal, regex, except_value in _REGEX_RULES
    ]
    return (*by_regex, *map(_segment_rule, _SEGMENT_RULES))


def _segment_rule(line: str) -> _Rule:
    segments = line.split(".")
    tag = ""
    regex = []
    for segment in segments:
        if segment == "**":
            regex.append(r".+")
        elif segment == "*":
            regex.append(r"[^.]+\.")
        elif segment.startswith("<"):
            tag = "envoy." + segment[1:-1]
            regex.append(r"(([^.]+)\.)")
        else:
            regex.append(re.escape(segment) + r"\.")
    text = "^" + "".join(regex).removesuffix(r"\.") + "$"
    fixed = [segment for segment in segments[1:] if segment[0] not in "*<"]
    literal = f".{fixed[-1]}." if fixed else ""
    first = segments[0] if segments[0][0] != "<" else ""
    return _Rule(tag, text, re.ASCII | re.DOTALL, literal, first)


DEFAULT_RULES: Final = _default_rules()
