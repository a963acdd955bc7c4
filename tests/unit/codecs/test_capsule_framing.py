"""Capsules as the packet path has them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunproxy.codecs.capsule_framing import CapsuleFraming
from tunproxy.codecs.capsules import emit_datagram
from tunproxy.errors import RemoteProtocolError


@given(st.lists(st.binary(max_size=300), max_size=6), st.integers(1, 50))
def test_datagrams_come_out_as_they_went_in_wherever_the_stream_is_cut(
    payloads: list[bytes], cut: int
) -> None:
    framing, other = CapsuleFraming(), CapsuleFraming()
    stream = b"".join(framing.head(len(payload)) + payload for payload in payloads)
    assert stream == b"".join(map(emit_datagram, payloads))
    found: list[bytes] = []
    for at in range(0, len(stream), cut):
        found += other.take(stream[at : at + cut])
    assert found == payloads
    assert other.is_between()


def test_largest_datagram_fits() -> None:
    framing = CapsuleFraming()
    payload = bytes(65_507)
    assert framing.take(framing.head(len(payload)) + payload) == [payload]


def test_stream_that_ends_within_a_capsule_is_cut_off() -> None:
    framing = CapsuleFraming()
    assert framing.take(framing.head(3) + b"ab") == []
    assert not framing.is_between()


def test_what_no_datagram_can_be_raises() -> None:
    with pytest.raises(RemoteProtocolError):
        CapsuleFraming().take(b"\x00" + (1 << 62 | 3 << 62 | 1 << 40).to_bytes(8, "big")[:8])
