"""The server: what is answered at once, what resolvers are asked, and dnsmasq as one of them."""

import asyncio
import logging
import subprocess
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.isolation import isolated, needs_namespaces
from tests.unit.dns.world import (
    CLIENT,
    OTHER,
    Clock,
    Peer,
    Scripted,
    Sockets,
    address_of,
    dnsmasq,
    never,
    peer,
    query,
    read,
    respond,
    run,
    server_of,
    texts,
)
from tests.unit.waiting import until
from tests.unit.wire.frames import packed
from tunproxy.dns.cache import AnswerCache
from tunproxy.dns.fakeip import FakePool
from tunproxy.dns.hosts import Hosts, pointer_name
from tunproxy.dns.locations import parse_location
from tunproxy.dns.makers import make_resolver
from tunproxy.dns.resolvers import Group, ResolveError, Router
from tunproxy.dns.server import DnsServer

ONE, TWO = "192.0.2.1", "192.0.2.2"
HTTPS = "www.example 60 HTTPS 1 . alpn=h2 ipv4hint=192.0.2.1"


def rcode_of(wire: bytes | None) -> str:
    return dns.rcode.to_text(read(wire).rcode())


def test_answer_is_asked_for_once_and_then_known() -> None:
    async def test() -> None:
        clock, transport = Clock(), Scripted(address_of(ONE))
        server = server_of(transport, now=clock)
        assert server.answer_now(query(), CLIENT) is None
        assert texts(await server.answer(query(), CLIENT)) == ["www.example 300 A 192.0.2.1"]
        clock.advance(100.9)
        assert texts(server.answer_now(query("WWW.example"), OTHER)) == ["WWW.example 200 A 192.0.2.1"]
        clock.advance(200)
        assert server.answer_now(query(), CLIENT) is None
        assert len(transport.asked) == 1
        counts = server.statistics()
        assert (counts["queries"], counts["hits"], counts["misses"], counts["open"]) == (4, 1, 1, 0)

    run(test())


def test_what_does_not_exist_is_known_as_well() -> None:
    async def test() -> None:
        soa = "example 900 SOA ns.example. me.example. 1 7200 3600 86400 60"
        clock, transport = Clock(), Scripted(lambda asked: respond(asked, rcode=3, authority=(soa,)))
        server = server_of(transport, now=clock)
        assert rcode_of(await server.answer(query(), CLIENT)) == "NXDOMAIN"
        clock.advance(59)
        reply = read(server.answer_now(query(), CLIENT))
        assert reply.rcode() == dns.rcode.NXDOMAIN
        assert [rrset.ttl for rrset in reply.authority] == [1]
        clock.advance(1)
        assert server.answer_now(query(), CLIENT) is None

    run(test())


def test_client_means_the_name_it_asked_for() -> None:
    async def test() -> None:
        clock = Clock()
        server = server_of(
            Scripted(
                lambda asked: respond(
                    asked, "www.example 60 CNAME cdn.example.net.", f"cdn.example.net 60 A {ONE}"
                )
            ),
            now=clock,
        )
        await server.answer(query("WWW.example"), CLIENT)
        assert server.names.lookup(CLIENT, packed(ONE), clock()) == ("www.example", "dns", ("www.example",))
        assert server.names.lookup(OTHER, packed(ONE), clock()).host == ""
        server.answer_now(query(), OTHER)
        assert server.names.lookup(OTHER, packed(ONE), clock()).host == "www.example"

    run(test())


def test_name_of_a_service_is_that_of_its_host() -> None:
    async def test() -> None:
        record = HTTPS.replace("www.example", "_8443._https.www.example")
        server = server_of(Scripted(lambda asked: respond(asked, record)), now=Clock())
        await server.answer(query("_8443._https.www.example", "HTTPS"), CLIENT)
        assert server.names.lookup(CLIENT, packed(ONE), Clock()()).host == "www.example"

    run(test())


def test_equal_questions_under_way_are_asked_once() -> None:
    async def test() -> None:
        async def slow(asked: bytes) -> bytes:
            await asyncio.sleep(0.05)
            return address_of(ONE)(asked)

        transport = Scripted(slow)
        server = server_of(transport, attempt=10)
        replies = await asyncio.gather(
            *(
                server.answer(query("wWw.example" if number % 2 else "www.example", id=number), CLIENT)
                for number in range(20)
            )
        )
        assert len(transport.asked) == 1
        assert [read(reply).id for reply in replies] == list(range(20))
        assert server.statistics()["coalesced"] == 19

    run(test())


def test_client_that_gives_up_takes_nothing_from_others() -> None:
    async def test() -> None:
        async def slow(asked: bytes) -> bytes:
            await asyncio.sleep(0.05)
            return address_of(ONE)(asked)

        server = server_of(Scripted(slow), attempt=10)
        first = asyncio.create_task(server.answer(query(), CLIENT))
        second = asyncio.create_task(server.answer(query(), OTHER))
        await asyncio.sleep(0.01)
        first.cancel()
        assert texts(await second) == ["www.example 300 A 192.0.2.1"]
        assert server.statistics()["open"] == 0

    run(test())


def test_open_questions_of_a_client_are_bounded() -> None:
    async def test() -> None:
        server = server_of(Scripted(never), attempt=10, max_of_client=3, max_open=4)
        waiting = [
            asyncio.create_task(server.answer(query(f"n{number}.example"), CLIENT)) for number in range(3)
        ]
        await asyncio.sleep(0.01)
        reply = read(await server.answer(query("n9.example", use_edns=0), CLIENT))
        assert reply.rcode() == dns.rcode.SERVFAIL
        assert "too many questions" in reply.options[0].to_text()
        waiting.append(asyncio.create_task(server.answer(query("n4.example"), OTHER)))
        await asyncio.sleep(0.01)
        assert rcode_of(await server.answer(query("n5.example"), OTHER)) == "SERVFAIL"
        assert server.statistics()["crowded"] == 2
        await server.close()
        assert [rcode_of(await task) for task in waiting] == ["SERVFAIL"] * 4
        assert server.statistics()["open"] == 0

    run(test())


def test_silence_of_resolvers_is_told_and_remembered_for_a_moment() -> None:
    async def test() -> None:
        clock, transport = Clock(), Scripted(lambda asked: b"garbage")
        server = server_of(transport, now=clock)
        reply = read(await server.answer(query(use_edns=0), CLIENT))
        assert reply.rcode() == dns.rcode.SERVFAIL
        assert "resolver-0 answers garbage" in reply.options[0].to_text()
        count = len(transport.asked)
        assert rcode_of(server.answer_now(query(), CLIENT)) == "SERVFAIL"
        assert len(transport.asked) == count
        clock.advance(1)
        assert server.answer_now(query(), CLIENT) is None

    run(test())


def test_old_answer_is_given_where_nobody_answers_and_the_user_wants_that() -> None:
    async def test() -> None:
        clock, transport = Clock(), Scripted(address_of(ONE))
        server = server_of(
            transport, now=clock, cache=AnswerCache(stale_for=3600), patience=0.1, attempt=0.02
        )
        await server.answer(query(), CLIENT)
        clock.advance(301)
        transport.answer = lambda asked: b"garbage"
        reply = await server.answer(query(use_edns=0), CLIENT)
        assert texts(reply) == ["www.example 30 A 192.0.2.1"]
        assert int(read(reply).options[0].code) == 3  # type: ignore[attr-defined]
        transport.answer = never
        assert texts(await server.answer(query(), CLIENT)) == ["www.example 30 A 192.0.2.1"]
        clock.advance(3600)
        assert rcode_of(await server.answer(query(), CLIENT)) == "SERVFAIL"
        assert server.statistics()["stale"] == 2
        await server.close()

    run(test())


def test_old_answer_serves_at_once_where_resolvers_have_just_failed() -> None:
    """RFC 8767 §5: for 30 seconds they are not asked again; RFC 9520 asks for at least one."""

    async def test() -> None:
        clock, transport = Clock(), Scripted(address_of(ONE))
        cache = AnswerCache(stale_for=3600)
        server = server_of(transport, now=clock, cache=cache, attempt=0.02)
        await server.answer(query(), CLIENT)
        transport.answer = never
        clock.advance(301)
        await server.answer(query(), CLIENT)
        asked = len(transport.asked)
        clock.advance(29)
        assert texts(await server.answer(query(), CLIENT)) == ["www.example 30 A 192.0.2.1"]
        assert len(transport.asked) == asked
        clock.advance(2)
        transport.answer = address_of(TWO)
        assert texts(await server.answer(query(), CLIENT)) == ["www.example 300 A 192.0.2.2"]

    run(test())


def test_failure_never_serves_as_an_old_answer() -> None:
    async def test() -> None:
        clock, transport = Clock(), Scripted(never)
        server = server_of(transport, now=clock, cache=AnswerCache(stale_for=3600), attempt=0.02)
        assert rcode_of(await server.answer(query(), CLIENT)) == "SERVFAIL"
        transport.answer = address_of(ONE)
        clock.advance(2)
        assert texts(await server.answer(query(), CLIENT)) == ["www.example 300 A 192.0.2.1"]

    run(test())


@pytest.mark.parametrize("code", ["SERVFAIL", "REFUSED"])
def test_failure_of_a_resolver_is_known_for_a_second(code: str) -> None:
    """RFC 9520 §3.2: a name that cannot be resolved is not asked about again and again."""

    async def test() -> None:
        clock = Clock()
        transport = Scripted(lambda asked: respond(asked, rcode=dns.rcode.from_text(code)))
        server = server_of(transport, now=clock)
        assert rcode_of(await server.answer(query(), CLIENT)) == code
        asked = len(transport.asked)
        clock.advance(0.9)
        assert rcode_of(server.answer_now(query(), OTHER)) == code
        clock.advance(0.2)
        assert server.answer_now(query(), CLIENT) is None
        assert len(transport.asked) == asked

    run(test())


def test_old_answer_comes_before_a_slow_new_one() -> None:
    async def test() -> None:
        is_stale_given = asyncio.Event()

        async def slow(asked: bytes) -> bytes:
            await is_stale_given.wait()
            return address_of(TWO)(asked)

        clock, transport = Clock(), Scripted(address_of(ONE))
        cache = AnswerCache(stale_for=3600)
        server = server_of(transport, now=clock, cache=cache, patience=0.02, attempt=10)
        await server.answer(query(), CLIENT)
        clock.advance(301)
        transport.answer = slow
        assert texts(await server.answer(query(), CLIENT)) == ["www.example 30 A 192.0.2.1"]
        is_stale_given.set()
        await until(lambda: server.answer_now(query(), CLIENT))
        assert texts(server.answer_now(query(), CLIENT)) == ["www.example 300 A 192.0.2.2"]

    run(test())


@pytest.mark.parametrize("kind", ["ANY", "AXFR", "IXFR", "MAILB"])
def test_all_that_there_is_is_refused(kind: str) -> None:
    server = server_of(Scripted(never))
    wire = query("www.example", "A")
    number = {"ANY": 255, "AXFR": 252, "IXFR": 251, "MAILB": 253}[kind]
    assert rcode_of(server.answer_now(wire[:-4] + bytes((0, number)) + wire[-2:], CLIENT)) == "REFUSED"


def test_other_classes_are_refused() -> None:
    assert (
        rcode_of(server_of(Scripted(never)).answer_now(query("version.bind", "TXT", rdclass="CH"), CLIENT))
        == "REFUSED"
    )


def test_ways_round_us_are_not_named() -> None:
    reply = read(server_of(Scripted(never)).answer_now(query("_dns.resolver.arpa", "SVCB"), CLIENT))
    assert (reply.rcode(), reply.answer) == (dns.rcode.NOERROR, [])


def test_hosts_come_first_and_their_addresses_have_names() -> None:
    clock = Clock()
    server = server_of(Scripted(never), hosts=Hosts({"nas.home": ONE}), now=clock, fakes=FakePool(clock))
    assert texts(server.answer_now(query("nas.home"), CLIENT)) == ["nas.home 10 A 192.0.2.1"]
    assert texts(server.answer_now(query(pointer_name(packed(ONE)), "PTR"), CLIENT))[0].endswith(
        "PTR nas.home."
    )
    assert server.names.lookup(CLIENT, packed(ONE), clock()).host == "nas.home"


def test_edited_hosts_file_counts_before_what_resolvers_said(tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "hosts"
        clock = Clock()
        server = server_of(Scripted(address_of(ONE)), hosts=Hosts(None, path), now=clock)
        assert texts(await server.answer(query(), CLIENT)) == ["www.example 300 A 192.0.2.1"]
        path.write_text(f"{TWO} www.example\n")
        clock.advance(2)
        assert texts(server.answer_now(query(), CLIENT)) == ["www.example 10 A 192.0.2.2"]
        path.unlink()
        clock.advance(2)
        assert server.answer_now(query(), CLIENT) is None

    run(test())


def test_alias_of_the_users_is_followed_and_circles_are_not() -> None:
    async def test() -> None:
        aliases = {
            "a.example": "b.example", "b.example": "c.example", "local.example": "nas.home",
            "x.example": "y.example", "y.example": "x.example",
        }  # fmt: skip
        hosts = Hosts({**aliases, "nas.home": TWO})
        server = server_of(Scripted(address_of(ONE)), hosts=hosts, now=Clock())
        assert texts(await server.answer(query("a.example"), CLIENT)) == [
            "a.example 10 CNAME b.example.",
            "b.example 10 CNAME c.example.",
            "c.example 300 A 192.0.2.1",
        ]
        assert texts(await server.answer(query("local.example"), CLIENT))[1:] == ["nas.home 10 A 192.0.2.2"]
        assert server.names.lookup(CLIENT, packed(ONE), Clock()()).host == "a.example"
        assert rcode_of(await server.answer(query("x.example"), CLIENT)) == "SERVFAIL"

    run(test())


def test_fake_addresses_are_told_at_once_and_nobody_is_asked() -> None:
    clock, transport = Clock(), Scripted(never)
    server = server_of(transport, fakes=FakePool(clock), now=clock)
    assert texts(server.answer_now(query(), CLIENT)) == ["www.example 1 A 198.18.0.16"]
    assert texts(server.answer_now(query("WWW.EXAMPLE", "AAAA"), OTHER)) == ["WWW.EXAMPLE 1 AAAA fc00::10"]
    assert texts(server.answer_now(query("16.0.18.198.in-addr.arpa", "PTR"), OTHER))[0].endswith(
        "www.example."
    )
    assert server.names.lookup(OTHER, packed("198.18.0.16"), clock()) == (
        "www.example",
        "fake-ip",
        ("www.example",),
    )
    assert transport.asked == []


def test_fake_mode_takes_addresses_out_of_services_except_of_real_names() -> None:
    async def test() -> None:
        def script(asked: bytes) -> bytes:
            name = dns.message.from_wire(asked).question[0].name.to_text(True)
            return respond(asked, HTTPS.replace("www.example", name))

        server = server_of(Scripted(script), fakes=FakePool(Clock()), now=Clock())
        assert texts(await server.answer(query("www.example", "HTTPS"), CLIENT)) == [
            'www.example 60 HTTPS 1 . alpn="h2"'
        ]
        [real] = texts(await server.answer(query("nas.lan", "HTTPS"), CLIENT))
        assert 'ipv4hint="192.0.2.1"' in real

    run(test())


def test_filtered_and_drained_names_are_real() -> None:
    async def test() -> None:
        fakes = FakePool(Clock())
        server = server_of(Scripted(address_of(ONE)), fakes=fakes, now=Clock())
        assert texts(await server.answer(query("printer.lan"), CLIENT)) == ["printer.lan 300 A 192.0.2.1"]
        server.answer_now(query(), CLIENT)
        fakes.drain()
        assert texts(await server.answer(query(), CLIENT)) == ["www.example 300 A 192.0.2.1"]
        assert server.names.lookup(CLIENT, packed("198.18.0.16"), Clock()()).host == "www.example"

    run(test())


def test_rules_may_say_who_is_fake() -> None:
    async def test() -> None:
        server = server_of(
            Scripted(address_of(ONE)),
            fakes=FakePool(Clock()),
            now=Clock(),
            wants_fake=lambda host: host == "a.example",
        )
        assert texts(await server.answer(query("a.example"), CLIENT)) == ["a.example 1 A 198.18.0.16"]
        assert texts(await server.answer(query("b.example"), CLIENT)) == ["b.example 300 A 192.0.2.1"]

    run(test())


def test_real_addresses_can_be_had_for_flows() -> None:
    async def test() -> None:
        transport = Scripted(address_of(ONE))
        server = server_of(transport, fakes=FakePool(Clock()), now=Clock(), hosts=Hosts({"nas.home": TWO}))
        assert await server.addresses("www.example") == [packed(ONE)]
        assert await server.addresses("www.example") == [packed(ONE)]
        assert len(transport.asked) == 2
        assert await server.addresses("nas.home") == [packed(TWO)]
        transport.answer = lambda asked: respond(asked, rcode=3)
        assert await server.addresses("none.example") == []
        transport.answer = lambda asked: b"garbage"
        with pytest.raises(ResolveError, match="answers garbage"):
            await server.addresses("gone.example")
        with pytest.raises(ResolveError, match="no host name"):
            await server.addresses("a..b")

    run(test())


def test_answers_are_forgotten_on_another_network() -> None:
    async def test() -> None:
        server = server_of(Scripted(address_of(ONE)), now=Clock())
        await server.answer(query(), CLIENT)
        server.forget()
        assert server.answer_now(query(), CLIENT) is None

    run(test())


def test_mistake_of_ours_is_logged_and_the_client_told(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Hosts):
        def answer(self, host: str, kind: int, now: int) -> Any:
            raise RuntimeError("boom")

    async def test() -> None:
        server = server_of(Scripted(address_of(ONE)), hosts=Broken())
        assert rcode_of(await server.answer(query(id=7), CLIENT)) == "SERVFAIL"
        assert read(server.answer_now(query(id=7), CLIENT)).id == 7
        assert server.statistics()["faults"] == 2

    with caplog.at_level(logging.ERROR):
        run(test())
    assert "cannot answer a query" in caplog.text


def test_close_ends_what_is_under_way() -> None:
    async def test() -> None:
        transport = Scripted(never)
        server = server_of(transport, attempt=10)
        task = asyncio.create_task(server.answer(query(), CLIENT))
        await asyncio.sleep(0.01)
        await server.close()
        assert rcode_of(await task) == "SERVFAIL"
        assert transport.is_closed

    run(test())


@given(st.binary(max_size=200))
def test_any_octets_are_answered_or_passed_over(octets: bytes) -> None:
    server = server_of(Scripted(address_of(ONE)), fakes=FakePool(Clock()), now=Clock())
    reply = server.answer_now(octets, CLIENT)
    assert reply is None or reply == b"" or reply[:2] == octets[:2]
    assert server.statistics()["faults"] == 0


@given(st.data())
def test_mutated_query_is_answered_or_passed_over(data: st.DataObject) -> None:
    wire = bytearray(query("www.example", use_edns=0))
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))

    async def test() -> None:
        server = server_of(Scripted(address_of(ONE)), now=Clock())
        reply = await server.answer(bytes(wire[: data.draw(st.integers(0, len(wire)))]), CLIENT)
        assert reply == b"" or reply[:2] == wire[:2]
        assert server.statistics()["faults"] == 0

    asyncio.run(test())


def asking(*locations: str) -> DnsServer:
    """Return a server that asks resolvers at locations, over real sockets."""
    sockets = Sockets()
    made = [make_resolver(parse_location(text), sockets, sockets.dialer()) for text in locations]
    return DnsServer(Router(Group(made)))


def test_resolver_that_answers_garbage_costs_little_time_and_leaks_nowhere() -> None:
    async def test() -> None:
        async with peer(lambda asked: [asked[:2] + b"\x81\x80 garbage"]) as bad, peer() as other:
            server = asking(f"udp://127.0.0.1:{bad.port}")
            assert rcode_of(await server.answer(query(), CLIENT)) == "SERVFAIL"
            resolvers: Any = server.statistics()["resolvers"]
            [counts] = resolvers.values()
            assert counts["garbage"] == counts["asked"], "the rest of its time was waited for"
            assert counts["timeouts"] == 0
            assert_untold(other)
            await server.close()

    def assert_untold(other: Peer) -> None:
        assert other.queries == []

    run(test())


def test_long_answer_is_fetched_over_tcp() -> None:
    records = [f"www.example 60 A 192.0.2.{number}" for number in range(200)]

    def cut(asked: bytes) -> list[bytes]:
        wire = bytearray(respond(asked))
        wire[2] |= 2
        return [bytes(wire)]

    async def test() -> None:
        async with peer(cut, lambda asked: [respond(asked, *records)]) as resolver:
            server = asking(f"127.0.0.1:{resolver.port}")
            assert len(texts(await server.answer(query(), CLIENT, True))) == 200
            assert [way for _, way in resolver.queries] == ["udp", "tcp"]
            assert read(server.answer_now(query(), CLIENT)).flags & dns.flags.TC
            assert len(texts(server.answer_now(query(use_edns=0, payload=4096), CLIENT))) == 200
            await server.close()

    run(test())


@needs_namespaces
@pytest.mark.needs("dnsmasq", "dig")
@pytest.mark.parametrize("location", ["udp://127.0.0.1:5353", "tcp://127.0.0.1:5353", "udp://[::1]:5353"])
def test_dnsmasq_is_asked(location: str) -> None:
    """What dnsmasq says, dig hears from us as it does from dnsmasq."""
    long_text = [f"txt-record=long.test,{number:03}{'x' * 200}" for number in range(15)]
    settings = (
        "host-record=www.test,192.0.2.7,2001:db8::7",
        "cname=alias.test,www.test",
        "mx-host=test,www.test,5",
        *long_text,
    )
    questions = [
        ("www.test", "A"), ("WwW.test", "AAAA"), ("alias.test", "A"), ("test", "MX"), ("long.test", "TXT"),
        ("none.test", "A"), ("www.test", "TXT"), ("7.2.0.192.in-addr.arpa", "PTR"),
    ]  # fmt: skip

    def check() -> None:
        async def test() -> None:
            server = asking(location)
            loop = asyncio.get_running_loop()

            async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                size = int.from_bytes(await reader.readexactly(2), "big")
                wire = await server.answer(await reader.readexactly(size), CLIENT, True)
                writer.write(len(wire).to_bytes(2, "big") + wire)
                await writer.drain()
                writer.close()

            listening = await asyncio.start_server(tell, "127.0.0.1", 5300)
            for name, kind in questions:
                ours, theirs = [
                    await loop.run_in_executor(None, dig, port, name, kind) for port in (5300, 5353)
                ]
                assert ours == theirs, (name, kind)
            listening.close()
            await server.close()

        with dnsmasq(*settings):
            asyncio.run(test())

    isolated(check)


def dig(port: int, name: str, kind: str) -> tuple[str, list[str]]:
    """Return the status of what dig hears, and the answers without their order."""
    argv = [
        "dig",
        "+tcp",
        "+noall",
        "+comments",
        "+answer",
        "+tries=1",
        "+time=5",
        "-p",
        str(port),
        "@127.0.0.1",
    ]
    done = subprocess.run([*argv, name, kind], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stdout + done.stderr
    [status] = [
        line.split("status: ")[1].split(",")[0] for line in done.stdout.splitlines() if "status:" in line
    ]
    return status, sorted(line for line in done.stdout.splitlines() if line and not line.startswith(";"))


def test_who_is_no_client_gets_real_addresses_and_leaves_no_trace() -> None:
    async def test() -> None:
        clock, transport = Clock(), Scripted(address_of(ONE))
        fakes = FakePool(clock)
        server = server_of(transport, fakes=fakes, now=clock, hosts=Hosts({"nas.home": TWO}))
        for _ in range(2):
            assert texts(await server.ask(query())) == [f"www.example 300 A {ONE}"]
        assert len(transport.asked) == 1
        assert texts(await server.ask(query("nas.home")))[0].endswith(TWO)
        assert (len(fakes), len(server.names)) == (0, 0)
        transport.answer = never
        assert rcode_of(await server.ask(query("gone.example"))) == "SERVFAIL"
        assert await server.ask(b"x") == b""

    run(test())
