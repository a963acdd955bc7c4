"""Fields of messages."""

import pytest

from tunproxy.rules.model import RuleError
from tunproxy.rulesets.protobuf import fields_of, text_of


def test_fields_of_all_wire_types() -> None:
    data = b"\x08\xac\x02" + b"\x12\x03abc" + b"\x19" + bytes(8) + b"\x25" + bytes(4) + b"\xf8\x07\x01"
    assert list(fields_of(data, "x")) == [(1, 300), (2, b"abc"), (3, bytes(8)), (4, bytes(4)), (127, 1)]


@pytest.mark.parametrize(
    "data", [b"\x08", b"\x12\x05ab", b"\x19\0", b"\x25\0", b"\x0b", b"\x80", b"\x12\xff\xff\xff\xff\x0f"]
)
def test_damaged_message_is_an_error(data: bytes) -> None:
    with pytest.raises(RuleError):
        list(fields_of(data, "x"))


def test_text_of_a_field() -> None:
    assert (text_of(b"a\xff"), text_of(5)) == ("a\ufffd", "")
