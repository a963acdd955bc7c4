"""One client's connection, over real sockets: each protocol to its flow, and every way of being refused."""

import asyncio
import base64
import re
import socket

import pytest

from tests.unit.relay.world import LOOPBACK, Client, nobody, run, service_of, target
from tunproxy.codecs.named import make
from tunproxy.relay.metrics import FLOWS_OPEN, OPEN, OUTCOMES
from tunproxy.relay.service import Service

USERS = LOOPBACK + '[users.joe]\npassword = "fish"\nconnections = 1\n'
LOGIN = base64.b64encode(b"joe:fish").decode()


def outcome(service: Service, name: str) -> int:
    return service.tally._board.outcome(OUTCOMES.index(name))


def connect_to(port: int, *fields: str) -> bytes:
    lines = (f"CONNECT 127.0.0.1:{port} HTTP/1.1", "Host: x", *fields, "", "")
    return "\r\n".join(lines).encode()


async def answered(text: str, said: bytes) -> bytes:
    """Return what a service with this configuration answers to said, up to the end."""
    service = service_of(text)
    client = Client(service)
    await client.send(said)
    heard = await client.to_end()
    client.sock.close()
    await client.task
    assert service.tally._board.total(OPEN) == 0
    service.close()
    return heard


def test_http_tunnel_carries_what_is_said_early_and_late() -> None:
    async def talk() -> None:
        service = service_of()
        with target() as (listener, port):
            client = Client(service)
            await client.send(connect_to(port) + b"early")
            theirs = await asyncio.to_thread(lambda: listener.accept()[0])
            assert await client.head() == b"HTTP/1.1 200 Connection established\r\n\r\n"
            with theirs, client.sock:
                assert await asyncio.to_thread(theirs.recv, 100) == b"early"
                await client.send(b"late")
                assert await asyncio.to_thread(theirs.recv, 100) == b"late"
                await client.task
                assert len(service.going) == 1
                theirs.shutdown(socket.SHUT_WR)
                assert await client.recv() == b""
            while service.going:
                await asyncio.sleep(0.01)
        assert outcome(service, "opened") == 1
        assert service.tally._board.total(OPEN) == 0
        assert service.tally._board.of_user(0, FLOWS_OPEN) == 0
        service.close()

    run(talk)


def test_socks_tunnel_answers_with_the_address_bound() -> None:
    async def talk() -> None:
        service = service_of(USERS)
        with target() as (listener, port):
            client = Client(service)
            await client.send(b"\x05\x02\x00\x02")
            assert await client.exactly(2) == b"\x05\x02"
            await client.send(b"\x01\x03joe\x04fish")
            assert await client.exactly(2) == b"\x01\x00"
            await client.send(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big"))
            theirs, address = await asyncio.to_thread(listener.accept)
            answer = await client.exactly(10)
            assert answer == b"\x05\x00\x00\x01\x7f\x00\x00\x01" + address[1].to_bytes(2, "big")
            theirs.close()
            assert await client.to_end() == b""
            client.sock.close()
            await client.task
        service.close()

    run(talk)


def test_codec_is_chosen_used_and_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    async def talk() -> None:
        service = service_of("log-flows = true\n" + LOOPBACK)
        codec = make("zstd")
        with target() as (listener, port):
            client = Client(service)
            early = codec.encode(b"early") + codec.flush()
            await client.send(connect_to(port, "Tunnel-Codecs: rot13, zstd;dict=9, zstd, gzip") + early)
            theirs = await asyncio.to_thread(lambda: listener.accept()[0])
            assert b"\r\nTunnel-Codec: zstd\r\n" in await client.head()
            with theirs, client.sock:
                assert await asyncio.to_thread(theirs.recv, 100) == b"early"
                theirs.sendall(b"answer")
                assert codec.decode(await client.recv()) == b"answer"
        await client.task
        service.close()

    run(talk)
    told = [each.getMessage() for each in caplog.records if "opened" in each.getMessage()]
    assert [line.partition(": opened")[2] for line in told] == [" (zstd)"]  # and not what was wished for


@pytest.mark.parametrize(
    ("text", "said", "status"),
    [
        (LOOPBACK, connect_to(0), "403"),
        ("", connect_to(80), "403"),
        (USERS, connect_to(80), "407"),
        (USERS, connect_to(80, "Proxy-Authorization: Basic am9lOng="), "407"),
        (LOOPBACK, b"GET http://127.0.0.1/ HTTP/1.1\r\nHost: x\r\n\r\n", "405"),
        (LOOPBACK, connect_to(80, "Tunnel-Codecs: " + "x," * 2000), "400"),
        (LOOPBACK, b"CONNECT a:1 HTTP/1.1\r\nX: " + b"x" * 20_000, "431"),
        (LOOPBACK, b"CONNECT nowhere.invalid:1 HTTP/1.1\r\nHost: x\r\n\r\n", "502"),
    ],
)
def test_http_refusals_tell_why(text: str, said: bytes, status: str) -> None:
    heard = run(lambda: answered(text, said))
    assert heard.startswith(f"HTTP/1.1 {status} ".encode())
    assert heard.endswith(b"\n")


def test_refused_port_is_told_in_both_protocols() -> None:
    port = nobody()
    assert run(lambda: answered(LOOPBACK, connect_to(port))).startswith(b"HTTP/1.1 502 ")
    said = b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big")
    assert run(lambda: answered(LOOPBACK, said)) == b"\x05\x00\x05\x05\x00\x01" + bytes(6)
    assert run(lambda: answered("", said))[:4] == b"\x05\x00\x05\x02"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (connect_to(25, f"Proxy-Authorization: Basic {LOGIN}"), "flow joe test:1 -> 127.0.0.1:25: refused: "
         "the relay does not allow this port"),
        (b"\x05\x01\x02\x01\x03joe\x04fish\x05\x01\x00\x03\x01a\x00\x19", "flow joe test:1 -> a:25: refused: "
         "the relay does not allow this target"),
        (b"\x05\x01\x02\x01\x03joe\x04fish\x05\x02\x00\x03\x01a\x00\x19", "test:1: refused: command 2 is"),
        (connect_to(25, "Proxy-Authorization: Basic am9lOng="), "test:1: wrong user or password "),
    ],
)  # fmt: skip
def test_refusal_is_noted_with_user_and_target_once(
    said: bytes, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    run(lambda: answered("log-flows = true\n" + USERS.replace("allow", 'deny = ["*:25"]\nallow'), said))
    assert len(caplog.records) == 1
    assert caplog.records[0].getMessage().startswith(told)


def test_datagrams_are_flows_that_begin_and_end(caplog: pytest.LogCaptureFixture) -> None:
    async def talk() -> None:
        service = service_of("log-flows = true\n" + LOOPBACK)
        client = Client(service)
        await client.send(b"\x05\x01\x00\x05\x03\x00\x01" + bytes(6))
        assert (await client.exactly(12))[:4] == b"\x05\x00\x05\x00"
        client.sock.close()
        await client.task
        service.close()

    caplog.set_level("INFO")
    run(talk)
    first, last = (record.getMessage() for record in caplog.records)
    assert first.endswith(" test:1 (UDP): opened")
    assert re.fullmatch(re.escape(first.removesuffix("opened")) + r"over \(\d+\.\d s\)", last)


def test_wrong_login_of_socks_is_told() -> None:
    said = b"\x05\x01\x02\x01\x03joe\x01x"
    assert run(lambda: answered(USERS, said)) == b"\x05\x02\x01\x01"
    assert run(lambda: answered(USERS, b"\x05\x01\x00")) == b"\x05\xff"


@pytest.mark.parametrize(
    "said", [b"\x00", b"\x04\x01", b"get / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\x80"]
)
def test_garbage_is_let_go_without_a_word(said: bytes) -> None:
    assert run(lambda: answered(LOOPBACK, said)) == b""


@pytest.mark.parametrize("said", [b"", b"CONNECT a:1 HTTP/1.1\r\nHost", b"\x05\x02", b"\x05"])
def test_slow_client_is_let_go(said: bytes) -> None:
    assert run(lambda: answered(LOOPBACK + "[limits]\nhandshake = 0.2\n", said)) == b""


def test_user_has_no_more_than_it_may() -> None:
    async def talk() -> None:
        service = service_of(USERS)
        with target() as (listener, port):
            said = connect_to(port, f"Proxy-Authorization: Basic {LOGIN}")
            first = Client(service)
            await first.send(said)
            assert b" 200 " in await first.head()
            second = Client(service)
            await second.send(said)
            assert (await second.to_end()).startswith(b"HTTP/1.1 429 ")
            first.sock.close()
            listener.accept()[0].close()
            while service.going:
                await asyncio.sleep(0.01)
            third = Client(service)
            await third.send(said)
            assert b" 200 " in await third.head()
            for each in (second, third):
                each.sock.close()
            await asyncio.gather(first.task, second.task, third.task)
        service.close()

    run(talk)


def test_datagrams_beside_an_encrypted_connection_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunproxy.relay.stream.Stream.is_encrypted", property(lambda _: True))
    said = b"\x05\x01\x00\x05\x03\x00\x01" + bytes(6)
    assert run(lambda: answered(LOOPBACK, said))[2:4] == b"\x05\x07"


def test_client_that_hangs_up_is_counted() -> None:
    async def talk() -> None:
        service = service_of()
        client = Client(service)
        await client.send(b"CONNECT a")
        client.sock.close()
        await client.task
        assert outcome(service, "hung-up") == 1
        assert service.tally._board.total(OPEN) == 0
        service.close()

    run(talk)
