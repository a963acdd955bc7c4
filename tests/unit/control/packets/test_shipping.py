"""Records between worker and supervisor."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunproxy.control.packets import shipping
from tunproxy.control.packets.shipping import Counts, Name, Packet, Records


@pytest.mark.parametrize("step", [1, 5, 10_000])
def test_records_arrive_as_they_were_sent(step: int) -> None:
    sent = b"".join(
        [
            shipping.name(bytes([192, 0, 2, 1]), "shop.example"),
            *shipping.packet(123, True, b"packet", 1500, 2, "whose: π", "over"),
            *shipping.packet(1 << 60, False, b"", 0, 0, "", ""),
            shipping.counts(5, 2),
        ]
    )
    reader = Records()
    found = [each for at in range(0, len(sent), step) for each in reader.feed(sent[at : at + step])]
    assert found == [
        Name(bytes([192, 0, 2, 1]), "shop.example"),
        Packet(123, True, b"packet", 1500, 2, ("whose: π", "over")),
        Packet(1 << 60, False, b"", 0, 0, ()),
        Counts(5, 2),
    ]


@pytest.mark.parametrize(
    "nonsense",
    [
        struct.pack("<IB", 0, 1),
        struct.pack("<IB", 1 << 30, 1),
        struct.pack("<IB", 1, 9),
        struct.pack("<IB", 1, shipping.PACKET),
        struct.pack("<IBB", 2, shipping.NAME, 5),
        struct.pack("<IBB", 2, shipping.NAME, 4),
        struct.pack("<IBQIIBHH", 22, shipping.PACKET, 0, 0, 0, 0, 500, 0),
        struct.pack("<IBQIIBHH4s", 26, shipping.PACKET, 0, 3, 0, 0, 0, 0, b"data"),
    ],
)
def test_what_does_not_fit_is_refused(nonsense: bytes) -> None:
    with pytest.raises(ValueError, match=r"a (record|packet|name)"):
        list(Records().feed(nonsense))


@given(st.binary(max_size=200))
def test_any_octets_are_records_or_refused(octets: bytes) -> None:
    try:
        for record in Records().feed(octets):
            assert isinstance(record, (Packet, Name, Counts))
    except ValueError:
        pass
