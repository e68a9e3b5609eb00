"""What routes say of HTTP filters (`typed_per_filter_config`)."""

from __future__ import annotations

from typing import Any, Final

from config.model.route import FilterOverride
from config.proto import rbac
from config.proto.fields import declare
from config.proto.path import Path
from config.proto.typed_config import ExtensionTable

_FILTER_CONFIG: Final = "envoy.config.route.v3.FilterConfig"

declare(_FILTER_CONFIG, "config is_optional disabled")


def translate_filter_overrides(msg: Any, at: Path) -> dict[str, FilterOverride]:
    """The map of a route, virtual host, weighted cluster or route configuration."""
    overrides_at = at.field("typed_per_filter_config")
    overrides: dict[str, FilterOverride] = {}
    for name, config in sorted(msg.typed_per_filter_config.items()):
        override = FILTER_OVERRIDES.translate(config, overrides_at.key(name))
        if override is not None:
            overrides[name] = override
    return overrides


def _translate_rbac(msg: Any, at: Path) -> FilterOverride:
    return FilterOverride(spec=rbac.translate_rbac_per_route(msg, at))


def _translate_filter_config(msg: Any, at: Path) -> FilterOverride | None:
    """`disabled`, or another configuration inside; neither: the filter is on, as it is configured."""
    if msg.disabled or not msg.HasField("config"):
        return FilterOverride(disabled=msg.disabled)
    return _CONFIGS.translate(msg.config, at.field("config"), optional=msg.is_optional)


_WHAT: Final = "a route's configuration of an HTTP filter"
_CONFIGS: Final = ExtensionTable[FilterOverride](_WHAT, {rbac.RBAC_PER_ROUTE: _translate_rbac})
FILTER_OVERRIDES: Final = ExtensionTable[FilterOverride](
    _WHAT, {rbac.RBAC_PER_ROUTE: _translate_rbac, _FILTER_CONFIG: _translate_filter_config}
)
