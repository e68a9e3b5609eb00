"""Another host for another attempt (Envoy: the previous-hosts retry predicate)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sidecar.upstream.api import LbContext
    from sidecar.upstream.host import Host

#: How often to choose again (Istio sets `host_selection_retry_max_attempts` to 5; Envoy's default is 1).
_ATTEMPTS: Final = 5


def avoiding(choose: Callable[[], Host | None], context: LbContext) -> Host | None:
    """A host that was not tried; after some attempts any, so that a retry to the only host is still made."""
    tried = context.tried
    host = choose()
    for _ in range(_ATTEMPTS):
        if host is None or host not in tried:
            break
        host = choose()
    return host
