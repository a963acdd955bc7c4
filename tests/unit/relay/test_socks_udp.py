"""UDP ASSOCIATE: datagrams, whose they are, and what is dropped."""

import asyncio
import socket

import pytest

from tests.unit.relay.world import Client, run, service_of, target
from tunproxy.relay.metrics import DATAGRAMS_DROPPED, OPEN
from tunproxy.relay.socks_udp import parse_datagram


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("000000017f0000010035aa", ("127.0.0.1", 53, 10)),
        ("00000003016101bb", ("a", 443, 8)),
        ("00000004" + "00" * 15 + "010035", ("::1", 53, 22)),
        ("000001017f0000010035aa", None),
        ("000000017f00000100", None),
        ("00000005ff0035", None),
        ("", None),
        ("00000003", None),
        ("00000003ff61", None),
    ],
)
def test_headers(written: str, found: tuple[str, int, int] | None) -> None:
    assert parse_datagram(bytes.fromhex(written)) == found


def test_datagrams_pass_both_ways_until_the_connection_ends() -> None:
    async def talk() -> None:
        service = service_of()
        client = Client(service)
        await client.send(b"\x05\x01\x00\x05\x03\x00\x01" + bytes(6))
        answer = await client.exactly(12)
        assert answer[2:6] == b"\x05\x00\x00\x01"
        relay = socket.inet_ntoa(answer[6:10]), int.from_bytes(answer[10:], "big")
        with target(socket.SOCK_DGRAM) as (sock, port), target(socket.SOCK_DGRAM) as (ours, _):
            header = b"\x00\x00\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big")
            for payload in (b"hello", bytes(8000)):
                ours.sendto(header + payload, relay)
                heard, sender = await asyncio.to_thread(sock.recvfrom, 65535)
                assert heard == payload
                sock.sendto(b"answer", sender)
                assert (await asyncio.to_thread(ours.recvfrom, 65535))[0] == header + b"answer"
            with target(socket.SOCK_DGRAM) as (stranger, _):  # the same host, another port
                stranger.sendto(header + b"from a stranger", relay)
                ours.sendto(b"\x00\x00\x00\x01\x0a\x00\x00\x01\x00\x35x", relay)  # where nobody may
                ours.sendto(header + b"still here", relay)
                assert (await asyncio.to_thread(sock.recvfrom, 65535))[0] == b"still here"
        assert service.tally._board.total(DATAGRAMS_DROPPED) == 2
        client.sock.close()
        await client.task
        assert not service.going
        assert service.tally._board.total(OPEN) == 0
        service.close()

    run(talk)
