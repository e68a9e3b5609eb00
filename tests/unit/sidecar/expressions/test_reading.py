"""Readers that know no attribute; those that do have their tests in `test_attributes.py`."""

from __future__ import annotations

import pytest

from sidecar.expressions.reading import NEVER, Constant, Function, OrElse, Reader
from sidecar.expressions.values import FAILED
from tests.unit.sidecar.expressions.streams import http_stream


@pytest.mark.parametrize(
    ("reader", "value"),
    [
        (Constant("a"), "a"),
        (NEVER, FAILED),
        (Function(lambda info: info.response_code), 200),
        (OrElse(Constant(1), Constant(2)), 1),
        (OrElse(Constant(FAILED), Constant(2)), FAILED),
        (OrElse(Constant(NotImplemented), Constant(2)), 2),
    ],
)
def test_readers(reader: Reader, value: object) -> None:
    info = http_stream()
    assert reader.value(info) == value
    assert reader.is_there(info) is (value is not FAILED)
