"""Subject alternative name matchers compiled to one predicate on a certificate."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from config.model.matching import SanMatcher, SanType, StringMatchKind
from protocols.tls.certificate import PeerCertificate
from sidecar.policy.matching import StringPredicate, compile_string_matcher, lower_ascii


def compile_san_matchers(matchers: tuple[SanMatcher, ...]) -> Callable[[PeerCertificate], bool]:
    """True when any matcher accepts any name of its type; with no matchers, always (`match_typed_subject_alt_names`).

    An exact DNS matcher also accepts a certificate's wildcard name, for one label and only at the left (RFC 6125
    section 6.4.3). IP addresses are compared in canonical form. Raises MatcherError for a bad regex.
    """
    if not matchers:
        return _accept_any
    by_type: dict[SanType, list[StringPredicate]] = {}
    for matcher in matchers:
        by_type.setdefault(matcher.san_type, []).append(_compile(matcher))
    rules = tuple((san_type, tuple(predicates)) for san_type, predicates in by_type.items())

    def accepts(certificate: PeerCertificate) -> bool:
        for san_type, predicates in rules:
            for name in _names(certificate, san_type):
                for predicate in predicates:
                    if predicate(name):
                        return True
        return False

    return accepts


def _accept_any(_certificate: PeerCertificate) -> bool:
    return True


def _names(certificate: PeerCertificate, san_type: SanType) -> tuple[str, ...]:
    match san_type:
        case SanType.URI:
            return certificate.uri_sans
        case SanType.DNS:
            return certificate.dns_sans
        case SanType.EMAIL:
            return certificate.email_sans
        case SanType.IP_ADDRESS:
            return certificate.ip_sans


def _compile(matcher: SanMatcher) -> StringPredicate:
    string = matcher.matcher
    if string.kind is StringMatchKind.EXACT:
        if matcher.san_type is SanType.DNS:
            wanted = lower_ascii(string.pattern)
            return lambda name: dns_name_covers(name, wanted)
        if matcher.san_type is SanType.IP_ADDRESS:
            address = _canonical_address(string.pattern)
            return lambda name: name == address
    return compile_string_matcher(string)


def dns_name_covers(certificate_name: str, host: str) -> bool:
    """Whether a DNS SAN, which may be `*.` and a name, stands for `host` (lower case). ASCII letter case is ignored."""
    name = lower_ascii(certificate_name)
    if name == host:
        return bool(host)
    if not name.startswith("*.") or "*" in name[2:]:
        return False
    label, dot, rest = host.partition(".")
    return bool(label and dot and rest) and rest == name[2:] and "*" not in label


def _canonical_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text
