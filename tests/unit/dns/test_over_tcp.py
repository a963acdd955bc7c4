"""DNS over TCP and TLS against a resolver of the test: one connection, many queries."""

import asyncio
import ssl
import subprocess
from pathlib import Path

import pytest

from tests.unit.dns.world import Sockets, peer, query, respond, run
from tests.unit.waiting import until
from tunproxy.dns import over_tcp
from tunproxy.dns.answers import GarbageError
from tunproxy.dns.over_tcp import TcpTransport
from tunproxy.dns.transport import Endpoint


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key and a self-signed certificate for dns.example."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
         "2", "-subj", "/CN=dns.example", "-addext", "subjectAltName=DNS:dns.example",
         "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    both = folder / "both.pem"
    both.write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    return both


def serving(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_queries_share_one_connection_and_responses_may_come_in_any_order() -> None:
    async def test() -> None:
        kept: list[bytes] = []

        def answer(asked: bytes) -> list[bytes]:
            kept.append(asked)
            return [respond(each) for each in reversed(kept)] if len(kept) == 5 else []

        sockets = Sockets()
        async with peer(tcp=answer) as resolver:
            transport = TcpTransport(sockets.dialer(), Endpoint("127.0.0.1", resolver.port))
            asked = [query(f"n{number}.example", id=7) for number in range(5)]
            found = await asyncio.gather(*(transport.exchange(each) for each in asked))
            assert found == [respond(each) for each in asked]
            assert len({each[:2] for each, _ in resolver.queries}) == 5, "ids on one connection differ"
            assert resolver.connections == 1
            await transport.close()
        assert sockets.made == ["tcp"]

    run(test())


def test_connection_that_the_resolver_has_closed_is_made_again() -> None:
    async def test() -> None:
        async with peer(tcp=lambda asked: [respond(asked)]) as resolver:
            transport = TcpTransport(Sockets().dialer(), Endpoint("127.0.0.1", resolver.port))
            await transport.exchange(query())
            pipe = transport._pipe
            assert pipe is not None
            pipe._writer.transport.get_extra_info("socket").shutdown(2)
            await transport.exchange(query())
            assert resolver.connections == 2
            await transport.close()

    run(test())


def test_resolver_that_hangs_up_on_everybody_is_not_tried_for_ever() -> None:
    async def test() -> None:
        async with peer(tcp=lambda asked: None) as resolver:
            transport = TcpTransport(Sockets().dialer(), Endpoint("127.0.0.1", resolver.port))
            with pytest.raises((OSError, EOFError)):
                await transport.exchange(query())
            assert resolver.connections == 1

    run(test())


def test_garbage_ends_the_connection_and_all_that_waits_for_it() -> None:
    async def test() -> None:
        async with peer(tcp=lambda asked: [b"garbage"]) as resolver:
            transport = TcpTransport(Sockets().dialer(), Endpoint("127.0.0.1", resolver.port))
            found = await asyncio.gather(
                *(transport.exchange(query()) for _ in range(3)), return_exceptions=True
            )
            assert [type(each) for each in found] == [GarbageError] * 3

    run(test())


def test_late_response_to_a_query_that_was_given_up_hurts_nobody() -> None:
    async def test() -> None:
        first: list[bytes] = []

        def answer(asked: bytes) -> list[bytes]:
            if not first:
                first.append(asked)
                return []
            return [respond(first[0]), respond(asked)]

        async with peer(tcp=answer) as resolver:
            transport = TcpTransport(Sockets().dialer(), Endpoint("127.0.0.1", resolver.port))
            task = asyncio.create_task(transport.exchange(query("a.example", id=7)))
            await until(lambda: first)
            task.cancel()
            await asyncio.wait((task,))
            assert task.cancelled()
            asked = query("b.example", id=7)
            assert await transport.exchange(asked) == respond(asked)
            assert resolver.connections == 1
            await transport.close()

    run(test())


def test_address_that_does_not_answer_is_followed_by_the_next() -> None:
    async def test() -> None:
        async with peer(tcp=lambda asked: [respond(asked)]) as resolver:

            async def bootstrap(host: str) -> list[str]:
                return ["127.0.0.9", "127.0.0.1"]

            endpoint = Endpoint("dns.example", resolver.port, "", bootstrap)
            transport = TcpTransport(Sockets().dialer(), endpoint)
            asked = query()
            assert await transport.exchange(asked) == respond(asked)
            await transport.close()

    run(test())


@pytest.mark.needs("openssl")
def test_tls_proves_the_resolvers_name(certificate: Path) -> None:
    async def test() -> None:
        trusting = ssl.create_default_context(cafile=str(certificate))
        async with peer(tcp=lambda asked: [respond(asked)], ssl=serving(certificate)) as resolver:
            endpoint = Endpoint("dns.example", resolver.port, "127.0.0.1")
            transport = TcpTransport(Sockets().dialer(), endpoint, trusting)
            assert transport.is_private
            asked = query()
            assert await transport.exchange(asked) == respond(asked)
            assert await transport.exchange(asked) == respond(asked)
            assert resolver.connections == 1
            await transport.close()

    run(test())


@pytest.mark.needs("openssl")
@pytest.mark.parametrize(("name", "is_trusted"), [("other.example", True), ("dns.example", False)])
def test_tls_to_somebody_else_tells_him_nothing(certificate: Path, name: str, is_trusted: bool) -> None:
    async def test() -> None:
        context = ssl.create_default_context(cafile=str(certificate) if is_trusted else None)
        async with peer(tcp=lambda asked: [respond(asked)], ssl=serving(certificate)) as resolver:
            transport = TcpTransport(Sockets().dialer(), Endpoint(name, resolver.port, "127.0.0.1"), context)
            with pytest.raises(ssl.SSLCertVerificationError):
                await transport.exchange(query())
            assert resolver.queries == []

    run(test())


def test_connection_that_is_full_is_followed_by_another_and_both_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(over_tcp, "MAX_PIPELINED", 2)

    async def test() -> None:
        async with peer() as resolver:
            transport = TcpTransport(Sockets().dialer(), Endpoint("127.0.0.1", resolver.port))
            tasks = []
            for number in (1, 2, 3):
                tasks.append(asyncio.ensure_future(transport.exchange(query())))
                await until(lambda count=number: len(resolver.queries) == count)  # type: ignore[misc]
            assert resolver.connections == 2
            await transport.close()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(each) for each in found] == [ConnectionResetError] * 3

    run(test())
