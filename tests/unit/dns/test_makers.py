"""Resolvers are made as the user wrote them, each once, and nobody else is asked."""

import asyncio
import subprocess
import sys
from pathlib import Path

import dns.message
import pytest

from tests.isolation import isolated, needs_namespaces
from tests.unit.dns.test_build import built, saying
from tests.unit.dns.test_over_tcp import certificate as certificate
from tests.unit.dns.test_over_tcp import serving
from tests.unit.dns.world import CLIENT, Sockets, dnsmasq, peer, query, read, run, texts, unbound
from tunproxy.dns.locations import parse_location
from tunproxy.dns.makers import make_resolver
from tunproxy.errors import ConfigError


@pytest.mark.parametrize(
    "text", ["192.0.2.1", "tcp://192.0.2.1", "tls://192.0.2.1", "https://[2001:db8::1]/q"]
)
def test_resolver_is_called_as_the_user_wrote_it_and_opens_nothing(text: str) -> None:
    async def test() -> None:
        sockets = Sockets()
        resolver = make_resolver(parse_location(text), sockets, sockets.dialer())
        assert resolver.label == text
        await resolver.close()
        assert sockets.made == []
        await asyncio.sleep(0)

    run(test())


def test_names_of_a_domain_go_to_its_resolvers_only() -> None:
    async def test() -> None:
        async with peer(saying("192.0.2.1")) as all_others, peer(saying("192.0.2.2")) as corp:
            found = built(
                servers=(f"127.0.0.1:{all_others.port}",),
                domains={"+.Corp.example.": (f"udp://127.0.0.1:{corp.port}",)},
            )
            assert texts(await found.server.answer(query("a.corp.example"), CLIENT)) == [
                "a.corp.example 60 A 192.0.2.2"
            ]
            assert texts(await found.server.answer(query("corp.example"), CLIENT)) == [
                "corp.example 60 A 192.0.2.2"
            ]
            assert texts(await found.server.answer(query(), CLIENT)) == ["www.example 60 A 192.0.2.1"]
            assert (len(all_others.queries), len(corp.queries)) == (1, 2)
            await found.close()

    run(test())


@pytest.mark.needs("openssl")
def test_resolver_with_a_name_is_found_by_those_with_an_address(certificate: Path) -> None:
    async def test() -> None:
        async with (
            peer(saying("127.0.0.1")) as plain,
            peer(tcp=saying("192.0.2.1"), ssl=serving(certificate)) as private,
        ):
            sockets = Sockets()
            found = built(
                sockets,
                servers=(f"tls://dns.example:{private.port}",),
                bootstrap=(f"127.0.0.1:{plain.port}",),
                ca_file=certificate,
            )
            assert texts(await found.server.answer(query(), CLIENT)) == ["www.example 60 A 192.0.2.1"]
            asked = [dns.message.from_wire(wire).question[0].to_text().lower() for wire, _ in plain.queries]
            assert asked == ["dns.example. in a", "dns.example. in aaaa"]  # with capitals by chance
            [(sent, _)] = private.queries
            assert len(sent) == 128, "padded"
            assert sockets.made == ["udp", "udp", "tcp"]
            await found.close()

    run(test())


@needs_namespaces
@pytest.mark.needs("dnsmasq")
@pytest.mark.parametrize("strategy", ["failover", "race"])
def test_dnsmasq_behind_a_resolver_that_is_dead_and_one_that_lies(strategy: str) -> None:
    def check() -> None:
        async def test() -> None:
            async with peer(lambda asked: [asked[:2] + b"garbage" * 5]) as liar:
                found = built(
                    servers=("127.0.0.1:9", f"127.0.0.1:{liar.port}", "127.0.0.1:5353"), strategy=strategy
                )
                for number in range(5):
                    reply = await found.server.answer(query(f"n{number}.test"), CLIENT)
                    assert texts(reply) == [f"n{number}.test 300 A 192.0.2.{number}"]
                assert read(await found.server.answer(query("none.test"), CLIENT)).rcode() == 3
                await found.close()

        with dnsmasq(*(f"host-record=n{number}.test,192.0.2.{number}" for number in range(5))):
            run(test())

    isolated(check)


@needs_namespaces
@pytest.mark.needs("unbound", "openssl")
@pytest.mark.parametrize("scheme", ["udp", "tcp", "tls"])
def test_unbound_is_asked_for_all_at_once(scheme: str, certificate: Path, tmp_path: Path) -> None:
    """A hundred questions at a time, an answer too long for a datagram, and a name that is not there."""
    location = "tls://dns.example@127.0.0.1:8853" if scheme == "tls" else f"{scheme}://127.0.0.1:5353"
    records = [f"n{number}.test. 600 IN A 192.0.2.{number}" for number in range(100)]
    records += [f"long.test. 600 IN TXT {number:02}{'x' * 200}" for number in range(15)]

    def check() -> None:
        async def test() -> None:
            sockets = Sockets()
            found = built(sockets, servers=(location,), ca_file=certificate if scheme == "tls" else None)
            server = found.server
            replies = await asyncio.gather(
                *(server.answer(query(f"n{number}.test"), CLIENT) for number in range(100))
            )
            assert [texts(reply) for reply in replies] == [
                [f"n{number}.test 600 A 192.0.2.{number}"] for number in range(100)
            ]
            assert len(texts(await server.answer(query("long.test", "TXT"), CLIENT, True))) == 15
            none = read(await server.answer(query("none.test"), CLIENT))
            assert none.rcode() == 3
            made = {"udp": ["udp"] * 102 + ["tcp"], "tcp": ["tcp"], "tls": ["tcp"]}[scheme]
            assert sorted(sockets.made) == sorted(made)
            await found.close()

        with unbound(tmp_path, certificate, *records):
            run(test())

    isolated(check)


@pytest.mark.parametrize("is_wanted", [True, False])
def test_capitals_by_chance_are_the_users_choice(is_wanted: bool) -> None:
    async def test() -> None:
        async with peer(saying("192.0.2.1")) as plain:
            found = built(Sockets(), servers=(f"127.0.0.1:{plain.port}",), random_capitals=is_wanted)
            for number in range(5):
                name = f"www.example{number}.com"
                reply = read(await found.server.answer(query(name), CLIENT))
                assert texts(reply.to_wire()) == [f"{name} 60 A 192.0.2.1"]
                assert str(reply.question[0].name) == f"{name}."
            asked = [str(dns.message.from_wire(wire).question[0].name) for wire, _ in plain.queries]
            assert any(name != name.lower() for name in asked) is is_wanted
            await found.close()

    run(test())


def test_resolver_is_made_once_however_often_it_is_named() -> None:
    async def test() -> None:
        found = built(servers=("192.0.2.1", "192.0.2.2"), domains={"a.example": ("192.0.2.2",)})
        resolvers = found.server.statistics()["resolvers"]
        assert isinstance(resolvers, dict)
        assert list(resolvers) == ["192.0.2.1", "192.0.2.2"]
        await found.close()

    run(test())


def test_bootstrap_is_never_somebody_whom_nobody_named() -> None:
    async def test() -> None:
        with pytest.raises(ConfigError, match="nobody to ask for its address"):
            built(servers=("tls://dns.example",), system=("192.0.2.1",))

    run(test())


def test_https_is_loaded_for_those_who_use_it() -> None:
    program = (
        "import sys, asyncio, tunproxy.dns.build; from tunproxy.dns.makers import make_resolver; "
        "from tunproxy.dns.locations import parse_location as parse; "
        "make_resolver(parse('tls://192.0.2.1'), None, None); print('aiohttp' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
