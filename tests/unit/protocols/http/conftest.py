"""What tests of the HTTP codecs share."""

from __future__ import annotations

import pytest

from tests.unit.protocols.http.h2_wire import ROLES, Role


@pytest.fixture(params=list(ROLES.values()), ids=list(ROLES))
def role(request: pytest.FixtureRequest) -> Role:
    """Either role of HTTP/2."""
    return Role(*request.param)
