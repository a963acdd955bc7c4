"""What a seal promises can be somebody else's."""

import pytest

from tunproxy.flow.seal import Seal


def test_seal_is_somebody_elses() -> None:
    with pytest.raises(NotImplementedError):
        Seal().seal(b"header", b"payload")
    with pytest.raises(NotImplementedError):
        Seal().open(b"datagram")
    assert Seal().why == ""


def test_seal_of_interpreted_code_is_one() -> None:
    class Reversing(Seal):
        def seal(self, header: bytes, payload: bytes | memoryview) -> bytes:
            return (header + payload)[::-1]

        def open(self, datagram: bytes) -> bytes | None:
            if not datagram:
                self.why = "nothing"
                return None
            return datagram[::-1]

    seal = Reversing()
    assert seal.open(seal.seal(b"head", memoryview(b"tail"))) == b"headtail"
    assert seal.open(b"") is None
    assert seal.why == "nothing"
