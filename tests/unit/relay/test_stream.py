"""A client's connection before its flow begins."""

import pytest

from tests.unit.relay.world import pair, run
from tunproxy.relay.failures import HungUp
from tunproxy.relay.stream import Stream


def test_reads_as_much_as_is_needed() -> None:
    async def talk() -> bytes:
        ours, theirs = pair()
        with ours, theirs:
            stream = Stream(ours, "x")
            theirs.sendall(b"hel")
            await stream.need(3)
            theirs.sendall(b"lo")
            await stream.need(5)
            await stream.say(b"welcome")
            assert theirs.recv(100) == b"welcome"
            assert not stream.is_encrypted
            stream.finish()
            assert theirs.recv(100) == b""
            return stream.rest

    assert run(talk) == b"hello"


def test_end_in_the_middle_is_a_hang_up() -> None:
    async def talk() -> None:
        ours, theirs = pair()
        with ours:
            theirs.sendall(b"hel")
            theirs.close()
            await Stream(ours, "x").need(5)

    with pytest.raises(HungUp):
        run(talk)
