"""Message types by name: found in the installed Envoy API or in this project's own files, imported on first use.

Importing all of Envoy's API would cost seconds and tens of megabytes; a bootstrap names a dozen types.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
from typing import Any, Final, TypeAlias

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message

#: Descriptors of the C++, upb and Python implementations, whose classes are unrelated in the stubs.
Descriptor: TypeAlias = Any
FieldDescriptor: TypeAlias = Any
EnumDescriptor: TypeAlias = Any

#: Messages of this project's own .proto files (`istio/`).
ISTIO_MODULES: Final = {
    "stats.PluginConfig": "config.proto.istio.stats_pb2",
    "io.istio.http.peer_metadata.Config": "config.proto.istio.peer_metadata_pb2",
    "envoy.tcp.metadataexchange.config.MetadataExchange": "config.proto.istio.metadata_exchange_pb2",
    "istio.workload.BootstrapExtension": "config.proto.istio.workload_discovery_pb2",
    "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig": "config.proto.istio.alpn_pb2",
}
#: Messages of Envoy's that the installed API has in an older form.
_NEWER_MODULES: Final = {
    "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig": (
        "config.proto.open_telemetry_access_log"
    ),
}
_PACKAGES: Final = re.compile(r"(envoy|udpa|xds)(\.[a-z][a-z0-9_]*)+\Z")
_GOOGLE_MODULES: Final = ("any", "duration", "empty", "struct", "timestamp", "wrappers")


def _in_pool(full_name: str) -> Descriptor | None:
    try:
        return descriptor_pool.Default().FindMessageTypeByName(full_name)
    except KeyError:
        return None


def _import_package(package: str) -> list[str]:
    """The generated modules of a package, the likeliest first: `v3` packages are named after their parent."""
    try:
        parent = importlib.import_module(package)
    except ImportError:
        return []
    modules = [m.name for m in pkgutil.iter_modules(parent.__path__) if m.name.endswith("_pb2")]
    likely = f"{package.split('.')[-2]}_pb2"
    return [f"{package}.{name}" for name in sorted(modules, key=lambda name: (name != likely, name))]


@functools.cache
def message_class(full_name: str) -> type[Message] | None:
    """The class of a message type, `None` when no installed API knows it."""
    package, _, _ = full_name.rpartition(".")
    modules: list[str] = []
    if full_name in ISTIO_MODULES:
        modules = [ISTIO_MODULES[full_name]]
    elif full_name in _NEWER_MODULES:
        modules = [_NEWER_MODULES[full_name]]
    elif package == "google.protobuf":
        modules = [f"google.protobuf.{name}_pb2" for name in _GOOGLE_MODULES]
    elif _PACKAGES.match(package):
        modules = _import_package(package)
    descriptor = _in_pool(full_name)
    for module in modules:
        if descriptor is not None:
            break
        importlib.import_module(module)
        descriptor = _in_pool(full_name)
    return None if descriptor is None else message_factory.GetMessageClass(descriptor)


def type_name(type_url: str) -> str:
    """`a.b.C` of `type.googleapis.com/a.b.C` (or of the bare name)."""
    return type_url.rpartition("/")[2]
