"""The route table: which virtual host and which of its routes a request meets. Compiled once, pure, immutable."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from config.model.core import DataSource
from config.model.rbac import RbacSpec
from config.model.route import (
    DirectResponseAction,
    FilterOverride,
    FilterOverrides,
    RedirectAction,
    RouteAction,
    RouteConfiguration,
    RouteSpec,
    TlsRequirement,
    VirtualHost,
    WeightedCluster,
)
from protocols.http.headers import Headers
from sidecar.http.header_mutation import compile_request_mutations, compile_response_mutations
from sidecar.http.path_rewrite import compile_path_rewrite, path_only
from sidecar.http.redirect import Redirect
from sidecar.http.route import (
    NO_OVERRIDES,
    DirectResponseRoute,
    ForwardRoute,
    LiveOverride,
    LiveOverrides,
    RedirectRoute,
    Route,
    RouteInfo,
    TlsRedirectRoute,
)
from sidecar.http.route_match import CompiledMatch, RandomValue, matched_prefix
from sidecar.policy.matching import encode_text

ReadDataSource = Callable[[DataSource], bytes]
CompileOverride = Callable[[RbacSpec], object]


def inline_only(source: DataSource) -> bytes:
    """The reader for configurations whose direct responses are all inline."""
    return source.inline or b""


def as_it_is(spec: RbacSpec) -> object:
    """For tables whose routes no filter asks."""
    return spec


class RouteTable:
    """A compiled RouteConfiguration.

    `read` fetches the body of direct responses (the hall does the I/O). `compile_override` makes a filter's own form of what
    a route says of it. Raises FormatError and MatcherError for header
    formats and regular expressions that the translator let pass.
    """

    __slots__ = (
        "_catch_all",
        "_exact",
        "_ignore_port",
        "_prefixes",
        "_suffixes",
        "internal_only_headers",
        "name",
    )

    def __init__(
        self,
        spec: RouteConfiguration,
        read: ReadDataSource = inline_only,
        compile_override: CompileOverride = as_it_is,
    ) -> None:
        self.name = spec.name
        self.internal_only_headers = tuple(name.lower().encode() for name in spec.internal_only_headers)
        self._ignore_port = spec.ignore_port_in_host_matching
        self._exact: dict[bytes, _VirtualHost] = {}
        suffixes: dict[int, dict[bytes, _VirtualHost]] = {}
        prefixes: dict[int, dict[bytes, _VirtualHost]] = {}
        self._catch_all: _VirtualHost | None = None
        overrides = _Overrides(compile_override)
        for virtual_host in spec.virtual_hosts:
            compiled = _VirtualHost(spec, virtual_host, read, overrides)
            for domain in virtual_host.domains:
                pattern = encode_text(domain.lower())
                if pattern == b"*":
                    self._catch_all = compiled
                elif pattern.startswith(b"*"):
                    suffixes.setdefault(len(pattern) - 1, {})[pattern[1:]] = compiled
                elif pattern.endswith(b"*"):
                    prefixes.setdefault(len(pattern) - 1, {})[pattern[:-1]] = compiled
                else:
                    self._exact[pattern] = compiled
        # longest first: one dict for each length, so the number of virtual hosts does not matter
        self._suffixes = tuple(sorted(suffixes.items(), reverse=True))
        self._prefixes = tuple(sorted(prefixes.items(), reverse=True))

    def match(self, headers: Headers, random: RandomValue) -> Route | None:
        """The first matching route of the virtual host; None when there is no such host or route.

        `random` gives the stream's random value (the same at each call): for runtime fractions and weighted clusters.
        """
        virtual_host = self._virtual_host(headers.authority)
        return virtual_host.match(headers, random) if virtual_host is not None else None

    def explain(self, headers: Headers, random: RandomValue = lambda: 0) -> list[str]:
        """Why `match` answers what it answers, for people, one step a line."""
        virtual_host = self._virtual_host(headers.authority)
        host = headers.authority.decode("latin-1")
        if virtual_host is None:
            return [f"no virtual host for {host!r}"]
        return [f"virtual host {virtual_host.name!r} for {host!r}", *virtual_host.explain(headers, random)]

    def _virtual_host(self, authority: bytes) -> _VirtualHost | None:
        if self._ignore_port:
            authority = without_port(authority)
        host = authority.lower()
        found = self._exact.get(host)
        if found is not None:
            return found
        length = len(host)
        for size, by_suffix in self._suffixes:  # a wildcard stands for at least one character
            if size < length and (found := by_suffix.get(host[length - size :])) is not None:
                return found
        for size, by_prefix in self._prefixes:
            if size < length and (found := by_prefix.get(host[:size])) is not None:
                return found
        return self._catch_all


def port_start(authority: bytes) -> int:
    """Where the colon of the port is; -1 if there is none. Colons inside `[...]` belong to an IPv6 address."""
    colon = authority.rfind(b":")
    return colon if colon > authority.rfind(b"]") else -1


def without_port(authority: bytes) -> bytes:
    colon = port_start(authority)
    return authority[:colon] if colon >= 0 else authority


class _VirtualHost:
    __slots__ = ("_require_tls", "_routes", "_tls_redirect", "name")

    def __init__(
        self, table: RouteConfiguration, spec: VirtualHost, read: ReadDataSource, overrides: _Overrides
    ) -> None:
        self.name = spec.name
        self._require_tls = spec.require_tls
        self._tls_redirect = TlsRedirectRoute(spec.name)
        builder = _RouteBuilder(table, spec, read, overrides)
        self._routes = tuple(_Entry(route, builder) for route in spec.routes)

    def match(self, headers: Headers, random: RandomValue) -> Route | None:
        if self._require_tls is not TlsRequirement.NONE and self._must_redirect(headers):
            return self._tls_redirect
        path = path_only(headers.path)
        for entry in self._routes:
            if entry.match.matches(path, headers, random):
                return entry.choose(random)
        return None

    def explain(self, headers: Headers, random: RandomValue) -> Iterator[str]:
        if self._require_tls is not TlsRequirement.NONE and self._must_redirect(headers):
            yield "TLS is required: redirect to https"
            return
        path = path_only(headers.path)
        for index, entry in enumerate(self._routes):
            missed = entry.match.first_miss(path, headers, random)
            label = f"route {index} {entry.name!r}" if entry.name else f"route {index}"
            if missed is None:
                yield f"{label}: matches"
                return
            yield f"{label}: {missed}"
        yield "no route matches"

    def _must_redirect(self, headers: Headers) -> bool:
        """Judged on `x-forwarded-proto`, as set by the request rules."""
        if headers.get(b"x-forwarded-proto") == b"https":
            return False
        return self._require_tls is TlsRequirement.ALL or headers.get(b"x-envoy-internal") != b"true"


class _Entry:
    """One route: when it matches, and the routes to draw from (one, or one for each weighted cluster)."""

    __slots__ = ("_by_weight", "_only", "_total_weight", "match", "name")

    def __init__(self, spec: RouteSpec, builder: _RouteBuilder) -> None:
        self.name = spec.name
        self.match = CompiledMatch(spec.match)
        choices = builder.build(spec)
        self._only: Route | None = choices[0][1] if len(choices) == 1 else None
        self._by_weight = tuple(choices)
        self._total_weight = sum(weight for weight, _ in choices)

    def choose(self, random: RandomValue) -> Route:
        if self._only is not None:
            return self._only
        selected = random() % self._total_weight if self._total_weight else 0
        for weight, route in self._by_weight:
            if selected < weight:
                return route
            selected -= weight
        return self._by_weight[-1][1]


class _Overrides:
    """Compiles what routes say of filters; what a virtual host says to all its routes, once."""

    def __init__(self, compile_override: CompileOverride) -> None:
        self._compile = compile_override
        self._known: dict[int, tuple[FilterOverride, LiveOverride]] = {}

    def live(self, *levels: FilterOverrides) -> LiveOverrides:
        """The levels from the least to the most specific."""
        merged = {name: override for level in levels for name, override in level.items()}
        return {name: self._live(override) for name, override in merged.items()} if merged else NO_OVERRIDES

    def _live(self, override: FilterOverride) -> LiveOverride:
        known = self._known.get(id(override))
        if known is None:
            config = self._compile(override.spec) if override.spec is not None else None
            known = self._known[id(override)] = override, LiveOverride(override.disabled, config)
        return known[1]


class _RouteBuilder:
    """Builds the routes of one virtual host."""

    def __init__(
        self,
        table: RouteConfiguration,
        virtual_host: VirtualHost,
        read: ReadDataSource,
        overrides: _Overrides,
    ) -> None:
        self._table = table
        self._overrides = overrides
        self._virtual_host = virtual_host
        self._read = read

    def build(self, spec: RouteSpec) -> list[tuple[int, Route]]:
        """The routes with their weights."""
        action = spec.action
        if isinstance(action, RouteAction):
            if action.weighted_clusters:
                return [
                    (each.weight, self._forward(spec, action, index))
                    for index, each in enumerate(action.weighted_clusters)
                ]
            return [(1, self._forward(spec, action, None))]
        info = self._info(spec)
        if isinstance(action, RedirectAction):
            redirect = Redirect(action, matched_prefix(spec.match))
            return [(1, RedirectRoute(info, redirect, action.response_code.value))]
        if isinstance(action, DirectResponseAction):
            body = self._read(action.body) if action.body is not None else b""
            return [(1, DirectResponseRoute(info, action.status, body))]
        # a non-forwarding route names no cluster, which a router answers like an unknown one
        return [(1, ForwardRoute(info, RouteAction()))]

    def _forward(self, spec: RouteSpec, action: RouteAction, index: int | None) -> ForwardRoute:
        weighted = action.weighted_clusters[index] if index is not None else None
        host = self._virtual_host
        return ForwardRoute(
            self._info(spec, weighted),
            action,
            weighted=weighted,
            path_rewrite=compile_path_rewrite(
                action.prefix_rewrite, action.regex_rewrite, matched_prefix(spec.match)
            ),
            retry_policy=action.retry_policy or host.retry_policy,
            include_request_attempt_count=host.include_request_attempt_count,
            include_attempt_count_in_response=host.include_attempt_count_in_response,
        )

    def _info(self, spec: RouteSpec, weighted: WeightedCluster | None = None) -> RouteInfo:
        levels = [spec.mutations, self._virtual_host.mutations, self._table.mutations]
        if self._table.most_specific_header_mutations_wins:
            levels.reverse()
        if weighted is not None:
            levels.insert(0, weighted.mutations)
        overrides = [each.filter_overrides for each in (self._table, self._virtual_host, spec)]
        if weighted is not None:
            overrides.append(weighted.filter_overrides)
        return RouteInfo(
            spec.name,
            self._virtual_host.name,
            spec.metadata,
            spec.stat_prefix,
            compile_request_mutations(levels),
            compile_response_mutations(levels),
            spec.decorator,
            spec.tracing,
            self._overrides.live(*overrides),
        )
