"""The workload file: the short form of a configuration, for people.

A few lines say who this workload is, which ports come in, which services it calls and where its certificates are;
`expand` turns them into the bootstrap that a control plane would have produced for it. Problems are reported as for a
bootstrap: all at once, each with its place.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from config.model.core import SocketAddress
from config.proto.document import Source
from config.proto.path import FormatCheck, Path, Problems
from config.sections import Section, flag, list_of, one_of, read_file, text, texts

PROTOCOLS: Final = ("http", "http2", "grpc", "tcp")
MTLS_MODES: Final = ("strict", "permissive", "disabled")
LOG_LEVELS: Final = ("trace", "debug", "info", "warning", "error", "critical", "off")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`host:port`."""

    host: str
    port: int

    @property
    def is_ip(self) -> bool:
        """False for a name, which must be resolved."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True

    def overlaps(self, other: Endpoint) -> bool:
        """See `SocketAddress.overlaps`."""
        return SocketAddress(self.host, self.port).overlaps(SocketAddress(other.host, other.port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Identity:
    """PEM files; relative names are relative to the workload file."""

    certificate: str
    private_key: str
    ca: str


@dataclass(frozen=True, slots=True)
class Inbound:
    """A port that others call. `service` is the name they know; `mtls` is strict when there is an identity."""

    listen: Endpoint
    application: Endpoint
    protocol: str = "http"
    service: str = ""
    mtls: str = ""


@dataclass(frozen=True, slots=True)
class Outbound:
    """A service that this workload calls, at `listen`. `identities`: SPIFFE ids that the other side must have one of."""

    service: str
    listen: Endpoint
    endpoints: tuple[Endpoint, ...]
    protocol: str = "http"
    mtls: bool = True  # the default where there is an identity
    identities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Workload:
    """The whole file."""

    name: str
    namespace: str = "default"
    cluster: str = "Kubernetes"
    trust_domain: str = "cluster.local"
    labels: Mapping[str, str] = field(default_factory=dict)
    identity: Identity | None = None
    inbound: tuple[Inbound, ...] = ()
    outbound: tuple[Outbound, ...] = ()
    admin: Endpoint | None = None
    log_level: str = "info"
    access_log: str = ""  # a path; "" : none
    access_log_format: str = ""  # "" : Envoy's default format
    workload_discovery: str = ""  # the file of workloads that have no sidecar; "" : none

    @property
    def canonical_name(self) -> str:
        return self.labels.get("service.istio.io/canonical-name") or self.labels.get("app") or self.name

    @property
    def canonical_revision(self) -> str:
        return (
            self.labels.get("service.istio.io/canonical-revision") or self.labels.get("version") or "latest"
        )

    @property
    def node_id(self) -> str:
        return f"sidecar~127.0.0.1~{self.name}.{self.namespace}~{self.namespace}.svc.cluster.local"


#: Top-level keys that only a workload file has; one of them is enough, since another may be misspelt.
_OWN_KEYS: Final = re.compile(r"""^["']?(workload|identity|inbound|outbound)["']?\s*:""", re.MULTILINE)


def is_workload_file(text: str) -> bool:
    """Whether a configuration text is the short form, and not a bootstrap."""
    return _OWN_KEYS.search(text) is not None


def parse_workload(source: Source, check_format: FormatCheck | None = None) -> Workload:
    """Raises ConfigErrors with every problem. `check_format`: see `config.bootstrap.ParseOptions`."""
    return read_file(source, functools.partial(_read_workload, check_format=check_format))


def _endpoint(at: Path, value: object, problems: Problems) -> Endpoint | None:
    """`host:port`, `[v6]:port`, or only a port (then 127.0.0.1)."""
    host, colon, port = str(value).rpartition(":")
    if isinstance(value, int) and not isinstance(value, bool):
        host, colon = "127.0.0.1", ":"
    host = host.removeprefix("[").removesuffix("]")
    if not (isinstance(value, (str, int)) and colon and host and port.isascii() and port.isdigit()):
        problems.error(at, "must be ADDRESS:PORT")
        return None
    if int(port[:9]) > 65535:
        problems.error(at, f"{port} is not a port: at most 65535")
        return None
    return Endpoint(host, int(port))


def _listen_address(at: Path, value: object, problems: Problems) -> Endpoint | None:
    """An endpoint that can be bound: an IP address."""
    endpoint = _endpoint(at, value, problems)
    if endpoint is not None and not endpoint.is_ip:
        problems.error(at, f"{endpoint.host} is not an IP address: a port is opened on one of this machine's")
        return None
    return endpoint


def _some_endpoints(at: Path, value: object, problems: Problems) -> tuple[Endpoint, ...] | None:
    if value == []:
        problems.error(at, "needs at least one ADDRESS:PORT")
        return None
    return list_of(_endpoint)(at, value, problems)


def _read_workload(top: Section, check_format: FormatCheck | None) -> Workload:
    problems, root = top.problems, top.at
    who = Section(
        top.take("workload", lambda at, value, problems: value, None), root.field("workload"), problems
    )
    name = who.need("name", text)
    namespace = who.take("namespace", text, "default")
    cluster = who.take("cluster", text, "Kubernetes")
    trust_domain = who.take("trust_domain", text, "cluster.local")
    labels: dict[str, str] = who.take("labels", texts, {})
    who.finish()
    has_identity = "identity" in top.values
    inbound = functools.partial(_inbound, has_identity=has_identity)
    outbound = functools.partial(_outbound, has_identity=has_identity)
    workload = Workload(
        name or "",
        namespace,
        cluster,
        trust_domain,
        labels,
        identity=top.take("identity", _identity, None),
        inbound=top.take("inbound", list_of(inbound), ()),
        outbound=top.take("outbound", list_of(outbound), ()),
        admin=top.take("admin", _listen_address, None),
        log_level=top.take("log_level", one_of(LOG_LEVELS), "info"),
        access_log=top.take("access_log", text, ""),
        access_log_format=top.take(
            "access_log_format", functools.partial(_format, check_format=check_format), ""
        ),
        workload_discovery=top.take("workload_discovery", text, ""),
    )
    top.finish()
    if not problems.errors:
        _judge(workload, problems, root)
    return workload


def _format(at: Path, value: object, problems: Problems, *, check_format: FormatCheck | None) -> str | None:
    found = text(at, value, problems)
    problem = check_format(found, ()) if found is not None and check_format is not None else None
    if problem is not None:
        problems.error(at, problem)
    return found if problem is None else None


def _identity(at: Path, value: object, problems: Problems) -> Identity | None:
    section = Section(value, at, problems)
    certificate, key, ca = (section.need(name, text) for name in ("certificate", "private_key", "ca"))
    section.finish()
    return Identity(certificate, key, ca) if certificate and key and ca else None


def _inbound(at: Path, value: object, problems: Problems, *, has_identity: bool) -> Inbound | None:
    section = Section(value, at, problems)
    listen = section.need("listen", _listen_address)
    application = section.need("application", _endpoint)
    if listen is not None and application is not None and listen.overlaps(application):
        problems.error(at.field("application"), "is the port of the sidecar itself")
    protocol = section.take("protocol", one_of(PROTOCOLS), "http")
    service = section.take("service", text, "")
    mtls = section.take("mtls", one_of(MTLS_MODES), "")
    if mtls in ("strict", "permissive") and not has_identity:
        problems.error(at.field("mtls"), f"{mtls} needs an identity section")
    section.finish()
    return Inbound(listen, application, protocol, service, mtls) if listen and application else None


def _outbound(at: Path, value: object, problems: Problems, *, has_identity: bool) -> Outbound | None:
    section = Section(value, at, problems)
    service = section.need("service", text)
    listen = section.need("listen", _listen_address)
    endpoints = section.need("endpoints", _some_endpoints)
    protocol = section.take("protocol", one_of(PROTOCOLS), "http")
    mtls = section.take("mtls", flag, has_identity)
    if mtls and not has_identity:
        problems.error(at.field("mtls"), "needs an identity section")
    identities: tuple[str, ...] = section.take("identities", list_of(text), ())
    if identities and not mtls:
        problems.error(at.field("identities"), "can only be judged with mTLS")
    section.finish()
    if not (service and listen and endpoints):
        return None
    return Outbound(service, listen, endpoints, protocol, mtls, identities)


def _judge(workload: Workload, problems: Problems, root: Path) -> None:
    """What no field can be blamed for alone: two ports that are the same."""
    inbound = [("inbound", index, each.listen) for index, each in enumerate(workload.inbound)]
    outbound = [("outbound", index, each.listen) for index, each in enumerate(workload.outbound)]
    places = [
        (root.item(kind, index).field("listen"), f"{kind}[{index}]", listen)
        for kind, index, listen in inbound + outbound
    ]
    if workload.admin is not None:
        places.append((root.field("admin"), "admin", workload.admin))
    taken: dict[Endpoint, str] = {}
    for at, name, listen in places:
        if listen in taken and listen.port:
            problems.error(at, f"{listen} is taken by {taken[listen]}")
        elif (
            workload.admin is not None and name != "admin" and listen.overlaps(workload.admin) and listen.port
        ):
            problems.error(at, f"{listen} is taken by admin ({workload.admin})")
        taken.setdefault(listen, name)
