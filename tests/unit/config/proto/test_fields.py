"""Every field of every message that is read has a policy, and the policies are enforced."""

from __future__ import annotations

import pytest

from config.proto import bootstrap as _bootstrap  # noqa: F401  # declares all messages
from config.proto.fields import POLICIES, Policy
from config.proto.types import ISTIO_MODULES, message_class

#: Messages that carry plain values: there is nothing to decide about their fields.
_PLAIN_PACKAGES = ("google.protobuf",)


def _descriptor(name: str):
    for istio in ISTIO_MODULES:
        message_class(istio)
    found = message_class(name)
    if found is not None:
        return found.DESCRIPTOR
    parent, _, inner = name.rpartition(".")  # a message inside a message
    return _descriptor(parent).nested_types_by_name[inner]


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_policies_name_exactly_the_fields_of_the_message(name: str) -> None:
    fields = {field.name for field in _descriptor(name).fields}
    assert set(POLICIES[name]) == fields


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_messages_in_honoured_fields_have_policies_too(name: str) -> None:
    for field in _descriptor(name).fields:
        if POLICIES[name][field.name].policy is not Policy.HONOURED or field.message_type is None:
            continue
        inner = field.message_type
        if inner.GetOptions().map_entry:
            inner = inner.fields_by_name["value"].message_type
        if inner is None or inner.full_name.startswith(_PLAIN_PACKAGES) or not inner.fields:
            continue
        assert inner.full_name in POLICIES, f"{name}.{field.name}"
