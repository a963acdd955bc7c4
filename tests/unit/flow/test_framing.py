"""The framing that adds nothing."""

from tunproxy.flow.framing import CUT_OFF, FRAGMENT, UNKNOWN, Framing, Source


def test_framing_of_nothing_leaves_datagrams_as_they_are() -> None:
    framing = Framing()
    assert framing.header_for(bytes([192, 0, 2, 7]), 53) == b""
    assert framing.payload_off(b"") == 0
    assert framing.payload_off(b"data") == 0
    assert framing.source_of(b"") is None


def test_reasons_to_drop_are_no_offsets() -> None:
    assert len({CUT_OFF, FRAGMENT, UNKNOWN}) == 3
    assert max(CUT_OFF, FRAGMENT, UNKNOWN) < 0


def test_source_keeps_what_it_was_given() -> None:
    source = Source(b"", "www.example.org", 53)
    assert (source.address, source.name, source.port) == (b"", "www.example.org", 53)


def test_framing_may_be_somebody_elses() -> None:
    class Tagged(Framing):
        def header_for(self, target: bytes, port: int, host: str = "") -> bytes:
            return b"#" + target

    assert Tagged().header_for(b"abcd", 1) == b"#abcd"
