"""Who is on the other side: Istio's peer metadata object and all forms it travels in.

One immutable value. Received as a `google.protobuf.Struct` in an HTTP header (base64) or in the TCP exchange, made
from our own node metadata for sending, or read from endpoint metadata and baggage. Telemetry only: nothing here is
proof of anything, and no decision about access may rest on it.
"""

from __future__ import annotations

import binascii
import enum
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from struct import pack
from typing import Final

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct, Value

from protocols.protobuf import delimited

METADATA_HEADER: Final = b"x-envoy-peer-metadata"
METADATA_ID_HEADER: Final = b"x-envoy-peer-metadata-id"

#: Longest value taken from a peer; more is cut off (a DNS name's limit, and what labels of metrics can bear).
MAX_VALUE_CHARS: Final = 253

#: No HTTP head may be longer than this, so no header value is.
MAX_HEADER_VALUE_BYTES: Final = 64 * 1024


class Dialect(enum.Enum):
    """Whose keys travel. Receivers ignore what they do not know, so all three understand each other."""

    V1_28 = enum.auto()
    V1_29 = enum.auto()  # adds identity, locality and the app.kubernetes.io labels
    V1_5 = enum.auto()  # sends raw node metadata chosen by EXCHANGE_KEYS; reads as 1.28


WORKLOAD_TYPES: Final = frozenset({"pod", "deployment", "job", "cronjob"})

_CANONICAL_NAME_LABEL: Final = "service.istio.io/canonical-name"
_CANONICAL_REVISION_LABEL: Final = "service.istio.io/canonical-revision"
_APP_LABEL: Final = "app"
_VERSION_LABEL: Final = "version"
_QUALIFIED_APP_LABEL: Final = "app.kubernetes.io/name"
_QUALIFIED_VERSION_LABEL: Final = "app.kubernetes.io/version"
_SPECIAL_LABELS: Final = frozenset(
    {_CANONICAL_NAME_LABEL, _CANONICAL_REVISION_LABEL, _APP_LABEL, _VERSION_LABEL}
)


@dataclass(frozen=True, slots=True)
class PeerMetadata:
    """A workload. Empty string: not known. `type` is one of WORKLOAD_TYPES or empty. `labels` are the additional ones.

    Missing values are never replaced here ("unknown", "latest"): that is for whoever shows them.
    """

    instance_name: str = ""
    namespace: str = ""
    workload: str = ""
    cluster: str = ""
    type: str = ""
    canonical_name: str = ""
    canonical_revision: str = ""
    app: str = ""
    version: str = ""
    identity: str = ""
    region: str = ""
    zone: str = ""
    labels: tuple[tuple[str, str], ...] = ()

    def wire_struct(self, dialect: Dialect = Dialect.V1_28) -> dict[str, object]:
        """What is sent to peers. `LABELS` is always there, possibly empty."""
        labels = {
            key: value
            for key, value in (
                (_CANONICAL_NAME_LABEL, self.canonical_name),
                (_CANONICAL_REVISION_LABEL, self.canonical_revision),
                (_APP_LABEL, self.app),
                (_VERSION_LABEL, self.version),
            )
            if value
        }
        labels.update(self.labels)
        entries = [
            ("NAME", self.instance_name),
            ("NAMESPACE", self.namespace),
            ("WORKLOAD_NAME", self.workload),
            ("CLUSTER_ID", self.cluster),
            ("OWNER", self.owner),
        ]
        if dialect is Dialect.V1_29:
            entries += [
                ("IDENTITY", self.identity),
                ("REGION", self.region),
                ("AVAILABILITY_ZONE", self.zone),
            ]
        struct: dict[str, object] = {key: value for key, value in entries if value}
        struct["LABELS"] = labels
        return struct

    @property
    def owner(self) -> str:
        """The owner as it is sent, always in the group `apps/v1`; empty when the type is not known."""
        if not self.type:
            return ""
        return f"kubernetes://apis/apps/v1/namespaces/{self.namespace}/{self.type}s/{self.workload}"

    def filter_state(self) -> dict[str, object]:
        """The struct of `filter_state.downstream_peer`. `name` is there exactly when the cluster is known, as in Istio."""
        return {
            key: value for key in FILTER_STATE_KEYS if (value := self.filter_state_value(key)) is not None
        }

    def filter_state_value(self, key: str) -> object | None:
        """One value of that struct, None if it is not there; `labels` is a map."""
        if key == "name":
            return self.instance_name if self.cluster else None
        if key == "labels":
            return dict(self.labels) or None
        if key == "identity":
            return self.identity or None
        attribute = _FIELDS.get(key)
        return getattr(self, attribute) or None if attribute is not None else None

    def text(self) -> str:
        """`key=value` joined by commas, empty ones left out; for logs."""
        return ",".join(
            f"{key}={value}" for key, attribute in _FIELDS.items() if (value := getattr(self, attribute))
        )

    def get_field(self, name: str) -> str | None:
        """Field access of format strings (`%FILTER_STATE(downstream_peer_obj:FIELD:workload)%`); None: no such field."""
        if name == "type":
            return self.type or "unknown"
        attribute = _FIELDS.get(name)
        if attribute is None:
            return None
        value = getattr(self, attribute)
        return value if isinstance(value, str) else None


#: The names of the fields where the object is shown, in the order of its text -> attributes.
_FIELDS: Final = {
    "type": "type",
    "workload": "workload",
    "name": "instance_name",
    "cluster": "cluster",
    "namespace": "namespace",
    "service": "canonical_name",
    "revision": "canonical_revision",
    "app": "app",
    "version": "version",
    "region": "region",
    "availability_zone": "zone",
}

#: What `filter_state_value` may find.
FILTER_STATE_KEYS: Final = (*_FIELDS, "identity", "labels")

EMPTY_PEER: Final = PeerMetadata()


def workload_type(owner: str, workload: str) -> str:
    """The type that an owner reference names, "" if it names none of WORKLOAD_TYPES.

    Istio's way: `s/` and as many bytes as the workload name has are cut off the end without being looked at; the rest after
    the last slash is the type.
    """
    raw = owner.encode("utf-8", "surrogatepass")
    tail = len(workload.encode("utf-8", "surrogatepass")) + 2
    if len(raw) <= tail:
        return ""
    head = raw[:-tail]
    slash = head.rfind(b"/")
    if slash < 0:
        return ""
    kind = head[slash + 1 :].decode("utf-8", "replace")
    return kind if kind in WORKLOAD_TYPES else ""


_Get = Callable[[str], str]


def _peer_of(
    get: _Get, label: _Get, additional_labels: Iterable[str], dialect: Dialect, cut: Callable[[str], str]
) -> PeerMetadata:
    """The object from two ways to look up a string: of the node metadata, and of its labels."""
    app, version = label(_APP_LABEL), label(_VERSION_LABEL)
    identity = region = zone = ""
    if dialect is Dialect.V1_29:
        app = label(_QUALIFIED_APP_LABEL) or app
        version = label(_QUALIFIED_VERSION_LABEL) or version
        identity, region, zone = get("IDENTITY"), get("REGION"), get("AVAILABILITY_ZONE")
    workload = get("WORKLOAD_NAME")
    labels = tuple(
        (name, cut(value))
        for name in dict.fromkeys(additional_labels)
        if name not in _SPECIAL_LABELS and (value := label(name))
    )
    return PeerMetadata(
        instance_name=cut(get("NAME")),
        namespace=cut(get("NAMESPACE")),
        workload=cut(workload),
        cluster=cut(get("CLUSTER_ID")),
        type=workload_type(get("OWNER"), workload),
        canonical_name=cut(label(_CANONICAL_NAME_LABEL)),
        canonical_revision=cut(label(_CANONICAL_REVISION_LABEL)),
        app=cut(app),
        version=cut(version),
        identity=cut(identity),
        region=cut(region),
        zone=cut(zone),
        labels=labels,
    )


def peer_from_node(
    metadata: Mapping[str, object],
    additional_labels: Iterable[str] = (),
    *,
    dialect: Dialect = Dialect.V1_28,
    region: str = "",
    zone: str = "",
) -> PeerMetadata:
    """Ourselves, from `node.metadata` as plain values. `region` and `zone` (of `node.locality`) fill in for 1.29+.

    Only strings count: any other value in a string's place reads as empty.
    """
    labels = metadata.get("LABELS")
    get = _string_getter(metadata)
    label = _string_getter(labels if isinstance(labels, Mapping) else {})
    if dialect is Dialect.V1_29:
        locality = {"REGION": region, "AVAILABILITY_ZONE": zone}
        return _peer_of(
            lambda key: get(key) or locality.get(key, ""), label, additional_labels, dialect, _whole
        )
    return _peer_of(get, label, additional_labels, dialect, _whole)


def _string_getter(values: Mapping[str, object]) -> _Get:
    def get(key: str) -> str:
        value = values.get(key)
        return value if isinstance(value, str) else ""

    return get


def _whole(text: str) -> str:
    return text


def _cut(text: str) -> str:
    return text if len(text) <= MAX_VALUE_CHARS else text[:MAX_VALUE_CHARS]


def peer_from_wire(
    data: bytes, additional_labels: Iterable[str] = (), *, dialect: Dialect = Dialect.V1_28
) -> PeerMetadata | None:
    """A peer from the bytes of its Struct; None when they are no Struct. No bytes are an empty Struct.

    Values longer than MAX_VALUE_CHARS are cut. Nesting deeper than protobuf's limit (100) is no Struct.
    """
    if not data:
        return EMPTY_PEER
    try:
        struct = Struct.FromString(data)
    except DecodeError:
        return None
    return peer_from_struct(struct, additional_labels, dialect=dialect)


def peer_from_struct(
    struct: Struct, additional_labels: Iterable[str] = (), *, dialect: Dialect = Dialect.V1_28
) -> PeerMetadata:
    """As `peer_from_wire`, from a Struct that is read already."""
    fields: Mapping[str, Value] = struct.fields
    labels = fields.get("LABELS")
    label_fields: Mapping[str, Value] = (
        labels.struct_value.fields if labels is not None and labels.HasField("struct_value") else {}
    )
    return _peer_of(_value_getter(fields), _value_getter(label_fields), additional_labels, dialect, _cut)


def _value_getter(fields: Mapping[str, Value]) -> _Get:
    def get(key: str) -> str:
        value = fields.get(key)
        return value.string_value if value is not None else ""  # "" too for any other kind

    return get


# serialization


def serialize_struct(struct: Mapping[str, object]) -> bytes:
    """A google.protobuf.Struct with its keys in plain byte order at every level.

    Protobuf runtimes disagree about the order of map keys when one is a prefix of another, even when they are asked to be
    deterministic; header values are compared and cached, so the order is ours.
    """
    entries = {key.encode("utf-8", "surrogatepass"): value for key, value in struct.items()}
    return b"".join(
        delimited(1, delimited(1, key) + delimited(2, _value_bytes(entries[key]))) for key in sorted(entries)
    )


def _value_bytes(value: object) -> bytes:
    """A google.protobuf.Value."""
    if value is None:
        return b"\x08\x00"
    if isinstance(value, bool):
        return b"\x20\x01" if value else b"\x20\x00"
    if isinstance(value, str):
        return delimited(3, value.encode("utf-8", "surrogatepass"))
    if isinstance(value, Mapping):
        return delimited(5, serialize_struct(value))
    if isinstance(value, int | float):
        return b"\x11" + pack("<d", float(value))
    if isinstance(value, Iterable):
        return delimited(6, b"".join(delimited(1, _value_bytes(item)) for item in value))
    raise TypeError(f"not a Struct value: {type(value).__name__}")


# HTTP headers


def encode_header(peer: PeerMetadata, dialect: Dialect = Dialect.V1_28) -> bytes:
    """The value of `x-envoy-peer-metadata`: base64 with padding."""
    return binascii.b2a_base64(serialize_struct(peer.wire_struct(dialect)), newline=False)


def encode_header_v1_5(metadata: Mapping[str, object]) -> bytes:
    """What an Istio 1.5 proxy sends: the entries that `EXCHANGE_KEYS` of its node metadata names.

    Empty when there is no such key: then only the id header is sent.
    """
    keys = metadata.get("EXCHANGE_KEYS")
    if not isinstance(keys, str) or not keys:
        return b""
    chosen = {key: metadata[key] for key in keys.split(",") if key in metadata}
    return binascii.b2a_base64(serialize_struct(chosen), newline=False)


def decode_header(
    value: bytes, additional_labels: Iterable[str] = (), *, dialect: Dialect = Dialect.V1_28
) -> PeerMetadata | None:
    """The peer of an `x-envoy-peer-metadata` value; None: no peer, another discovery method may be tried. Never raises.

    Padding is optional. What is not base64 (the URL-safe alphabet neither) reads as no bytes, which is an empty Struct: an
    empty peer, as in Istio.
    """
    if not value or len(value) > MAX_HEADER_VALUE_BYTES:
        return None
    return peer_from_wire(_lenient_base64(value), additional_labels, dialect=dialect)


def _lenient_base64(value: bytes) -> bytes:
    text = value.rstrip(b"=")
    if len(value) - len(text) > 2 or len(text) % 4 == 1:
        return b""
    try:
        return binascii.a2b_base64(text + b"=" * (-len(text) % 4), strict_mode=True)
    except binascii.Error:
        return b""


#: A header up to this size is its own key in a `PeerCache`; for a longer one its hash stands, which costs more time.
_KEPT_WHOLE_BYTES: Final = 2048


class KnownPeer:
    """A peer and the header values it was read from. A connection keeps the last one: its next message will say the same."""

    __slots__ = ("cache", "peer", "peer_id", "value")

    def __init__(self, cache: PeerCache, peer_id: bytes, value: bytes, peer: PeerMetadata) -> None:
        """`value` empty: too long to be kept."""
        self.cache: Final = cache
        self.peer_id: Final = peer_id
        self.value: Final = value
        self.peer: Final = peer


class PeerCache:
    """Decoded header values, at most `limit`; remembered by principal, id and content.

    Deliberately not Istio's cache, which is keyed by the id that the client claims: there, whoever first uses another
    workload's id gives that workload a false name for everybody. Here a value only ever stands for itself, and for
    the principal (SPIFFE id of the connection, "" without mTLS) that sent it.
    """

    __slots__ = ("_additional_labels", "_dialect", "_limit", "_peers")

    #: How many of the oldest make room when the cache is full.
    _EVICTED_AT_ONCE: Final = 125

    def __init__(
        self, additional_labels: Iterable[str] = (), *, limit: int = 500, dialect: Dialect = Dialect.V1_28
    ) -> None:
        self._additional_labels = tuple(additional_labels)
        self._dialect = dialect
        self._limit = limit
        self._peers: dict[tuple[str, bytes, bytes], KnownPeer] = {}

    def __len__(self) -> int:
        return len(self._peers)

    def decode(self, principal: str, peer_id: bytes, value: bytes) -> PeerMetadata | None:
        """As `decode_header`. Nothing is remembered without an id, nor for values that are no Struct."""
        known = self.find(principal, peer_id, value)
        return known.peer if known is not None else None

    def find(self, principal: str, peer_id: bytes, value: bytes) -> KnownPeer | None:
        """See `decode`. Without an id, what is found is new each time."""
        if not peer_id or not value:
            found = decode_header(value, self._additional_labels, dialect=self._dialect)
            return KnownPeer(self, peer_id, b"", found) if found is not None else None
        is_long = len(value) + len(peer_id) > _KEPT_WHOLE_BYTES
        if is_long:
            key = principal, hashlib.sha256(peer_id).digest(), hashlib.sha256(value).digest()
        else:
            key = principal, peer_id, value
        known = self._peers.get(key)
        if known is None:
            found = decode_header(value, self._additional_labels, dialect=self._dialect)
            if found is None:
                return None
            known = KnownPeer(self, *((b"", b"") if is_long else (peer_id, value)), found)
            self._remember(key, known)
        return known

    def _remember(self, key: tuple[str, bytes, bytes], peer: KnownPeer) -> None:
        if len(self._peers) >= self._limit:
            for old in list(self._peers)[: min(self._EVICTED_AT_ONCE, self._limit)]:
                del self._peers[old]
        self._peers[key] = peer


# other sources


def peer_from_endpoint(value: str) -> PeerMetadata | None:
    """From host metadata `istio.workload`: `workload;namespace;canonical name;revision;cluster`. Fewer parts: None."""
    parts = value.split(";")
    if len(parts) < 5:
        return None
    return PeerMetadata(
        workload=parts[0],
        namespace=parts[1],
        canonical_name=parts[2],
        canonical_revision=parts[3],
        cluster=parts[4],
    )


def to_baggage(peer: PeerMetadata) -> str:
    """The `baggage` header of 1.29+. App and version are left out when they equal the service's."""
    members = (
        (f"k8s.{peer.type or 'pod'}.name", peer.workload),
        ("service.name", peer.canonical_name),
        ("app.name", peer.app if peer.app != peer.canonical_name else ""),
        ("service.version", peer.canonical_revision),
        ("app.version", peer.version if peer.version != peer.canonical_revision else ""),
        ("k8s.namespace.name", peer.namespace),
        ("k8s.cluster.name", peer.cluster),
        ("k8s.instance.name", peer.instance_name),
        ("cloud.region", peer.region),
        ("cloud.availability_zone", peer.zone),
    )
    return ",".join(f"{key}={value}" for key, value in members if value)


_BAGGAGE_FIELDS: Final = {
    "service.name": "canonical_name",
    "service.version": "canonical_revision",
    "app.name": "app",
    "app.version": "version",
    "k8s.namespace.name": "namespace",
    "k8s.cluster.name": "cluster",
    "k8s.instance.name": "instance_name",
    "cloud.region": "region",
    "cloud.availability_zone": "zone",
}
_BAGGAGE_TYPES: Final = {f"k8s.{kind}.name": kind for kind in WORKLOAD_TYPES}


def peer_from_baggage(value: str) -> PeerMetadata:
    """Read a `baggage` header: no trimming, no percent-decoding, the last of equal keys wins, foreign keys are ignored.

    `service.*` and `app.*` each fill in for the other. Values are cut at MAX_VALUE_CHARS.
    """
    found: dict[str, str] = {}
    for member in value.split(","):
        parts = member.split("=", 2)
        if len(parts) < 2:
            continue
        key, text = parts[0], _cut(parts[1])
        kind = _BAGGAGE_TYPES.get(key)
        if kind is not None:
            found["type"], found["workload"] = kind, text
        elif (attribute := _BAGGAGE_FIELDS.get(key)) is not None:
            found[attribute] = text
    app, service = found.get("app", ""), found.get("canonical_name", "")
    version, revision = found.get("version", ""), found.get("canonical_revision", "")
    return PeerMetadata(
        instance_name=found.get("instance_name", ""),
        namespace=found.get("namespace", ""),
        workload=found.get("workload", ""),
        cluster=found.get("cluster", ""),
        type=found.get("type", ""),
        canonical_name=service or app,
        canonical_revision=revision or version,
        app=app or service,
        version=version or revision,
        region=found.get("region", ""),
        zone=found.get("zone", ""),
    )
