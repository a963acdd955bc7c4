"""Binary data from front to back."""

import pytest

from tunproxy.rules.model import RuleError
from tunproxy.rulesets.octets import Octets


def test_numbers_and_runs_in_order() -> None:
    octets = Octets(b"\x07\x01\x02\xff\xff\xff\xff\xff\xff\xff\xfe\xac\x02abc", "x")
    assert (octets.u8(), octets.u16(), octets.i64(), octets.uvarint()) == (7, 0x102, -2, 300)
    assert octets.take(3) == b"abc"
    assert octets.left() == 0


def test_words_have_the_high_octet_first() -> None:
    assert list(Octets(bytes(7) + b"\5" + bytes(8), "x").words(2)) == [5, 0]


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 11])
def test_number_that_does_not_end_is_an_error(data: bytes) -> None:
    with pytest.raises(RuleError, match="x:1:1: "):
        Octets(data, "x").uvarint()


def test_missing_octets_are_an_error_that_says_where() -> None:
    octets = Octets(b"ab", "x")
    octets.take(1)
    with pytest.raises(RuleError, match=r"2 octets expected, 1 left \(octet 1\)"):
        octets.take(2)
    for read in (octets.u16, octets.i64):
        with pytest.raises(RuleError):
            read()
    octets.u8()
    with pytest.raises(RuleError):
        octets.u8()


@pytest.mark.parametrize("count", [-1, 3, 1 << 62])
def test_count_beyond_the_data_is_refused(count: int) -> None:
    with pytest.raises(RuleError, match="entries announced"):
        Octets(bytes(16), "x").count(count, 8)
    with pytest.raises(RuleError):
        Octets(bytes(16), "x").words(count)
