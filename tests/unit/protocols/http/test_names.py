from __future__ import annotations

from protocols.http import names


def test_names_are_lower_case_tokens() -> None:
    constants = {key: value for key, value in vars(names).items() if isinstance(value, bytes)}
    for key, value in constants.items():
        if value.isupper():
            assert value == key.encode()  # a method
        else:
            assert value.islower() and b" " not in value


def test_framing_fields_are_known() -> None:
    assert names.TRANSFER_ENCODING in names.HOP_BY_HOP
    assert names.HOP_BY_HOP | {names.CONTENT_LENGTH} == names.FRAMING_OR_HOP_BY_HOP
