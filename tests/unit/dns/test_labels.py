"""Names as octets and as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunproxy.dns.labels import name_of, skip_name, text_of


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        (b"\0", ""),
        (b"\3www\7example\0", "www.example"),
        (b"\3a.b\1\\\0", "a\\046b.\\092"),
        (b"\2\xff \0", "\\255\\032"),
    ],
)
def test_name_is_text_without_ambiguity(wire: bytes, text: str) -> None:
    assert text_of(wire) == text


def test_name_of_text() -> None:
    assert name_of("WWW.Example.") == b"\3www\7example\0"
    assert name_of(".") == b"\0"
    assert name_of("bücher.example") == b"\x0dxn--bcher-kva\7example\0"
    for bad in ("a..b", "x" * 64, ".".join(["x" * 60] * 5)):
        with pytest.raises(ValueError, match=r"no host name|label"):
            name_of(bad)


@given(st.binary(max_size=300), st.integers(0, 310))
def test_name_is_skipped_or_refused(wire: bytes, at: int) -> None:
    end = skip_name(wire, at)
    assert end == -1 or at < end <= len(wire)
