"""The admin port and browsers: a page from elsewhere must not read or change a proxy on the user's own machine.

Two ways lead here: a request across origins, which carries `origin`, and a foreign host name that was made to resolve to
this machine (DNS rebinding), which shows in `host`.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from config.model.core import Address, SocketAddress
from protocols.http.headers import Headers

#: Nothing secret, and asked for by names that are not known here: scrapers and health checks come through a proxy listener.
_OPEN_PATHS: Final = frozenset({b"/stats/prometheus", b"/ready"})

_PORT: Final = re.compile(rb":[0-9]*\Z")


def is_foreign(request: Headers, local: Address) -> bool:
    """Whether a request was made by another site's page. `local`: the address that it came to."""
    if request.path.partition(b"?")[0] in _OPEN_PATHS:
        return False
    authority = request.authority
    origin = request.get(b"origin")
    if origin is not None and origin.partition(b"://")[2] != authority:
        return True
    return _is_loopback(local) and not _is_own_name(authority)


def _is_loopback(address: Address) -> bool:
    try:
        return isinstance(address, SocketAddress) and ipaddress.ip_address(address.address).is_loopback
    except ValueError:
        return False


def _is_own_name(authority: bytes) -> bool:
    """An IP address, or a name without a dot (`localhost`, a container's name): nobody elsewhere can own that."""
    host = _PORT.sub(b"", authority).strip(b"[]")
    if b"." not in host and b":" not in host:
        return True
    try:
        ipaddress.ip_address(host.decode("latin-1"))
    except ValueError:
        return False
    return True
