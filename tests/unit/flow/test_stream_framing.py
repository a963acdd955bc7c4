"""What a framing of streams promises can be somebody else's."""

import pytest

from tests.unit.datagram.relays import Sized
from tunproxy.flow.stream_framing import StreamFraming


def test_framing_is_somebody_elses() -> None:
    with pytest.raises(NotImplementedError):
        StreamFraming().head(1)
    with pytest.raises(NotImplementedError):
        StreamFraming().take(b"x")
    with pytest.raises(NotImplementedError):
        StreamFraming().is_between()


def test_framing_of_interpreted_code_is_one() -> None:
    framing: StreamFraming = Sized()
    data = framing.head(3) + b"abc" + framing.head(0)
    assert framing.take(data[:4]) == []
    assert not framing.is_between()
    assert framing.take(data[4:]) == [b"abc", b""]
    assert framing.is_between()
