"""Flows in captures, and what names tell of them."""

import random
from pathlib import Path
from typing import Any

import dns.message
import dns.rrset
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.control.history.captures import (
    ACK,
    CLIENT,
    SERVER,
    interface,
    packet_block,
    pcap,
    ping,
    section,
    syn,
    tcp,
    udp,
    written,
)
from tests.unit.decide.test_sniff_quic import datagrams
from tests.unit.decide.test_sniff_tls import hello, in_records
from tunproxy.control.history.capture_file import CaptureFile
from tunproxy.control.history.captured import IDLE_SECONDS, CapturedFlows

HTTP = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"


def answer(name: str, *addresses: str) -> bytes:
    query = dns.message.make_query(name, "A")
    reply = dns.message.make_response(query)
    reply.answer.append(dns.rrset.from_text(f"{name}.", 300, "IN", "CNAME", "cdn.example."))
    reply.answer.append(dns.rrset.from_text("cdn.example.", 300, "IN", "A", *addresses))
    return reply.to_wire()


def flows(path: Path) -> list[dict[str, Any]]:
    with CaptureFile(path) as capture:
        return list(CapturedFlows(capture).entries())


def of(tmp_path: Path, *packets: bytes, apart: float = 0.1) -> list[dict[str, Any]]:
    return flows(pcap(tmp_path / "x.pcap", packets, apart=apart))


def names(found: list[dict[str, Any]]) -> list[tuple[str | None, str | None]]:
    return [(each["name"], each["name_from"]) for each in found]


def test_tcp_flow_is_its_syn_and_what_goes_each_way(tmp_path: Path) -> None:
    found = of(
        tmp_path,
        syn(),
        syn(),  # sent again
        tcp(b"", flags=ACK | 2, seq=9, source=SERVER, target=CLIENT, sport=443, dport=4000),
        tcp(HTTP),
        tcp(b"y" * 100, seq=10, source=SERVER, target=CLIENT, sport=443, dport=4000),
    )
    assert len(found) == 1
    flow = found[0]
    assert (flow["protocol"], flow["client"], flow["client_port"]) == ("tcp", CLIENT, 4000)
    assert (flow["target"], flow["target_port"]) == (SERVER, 443)
    assert (flow["up"], flow["down"]) == (len(HTTP), 100)
    assert (flow["began"], flow["ended"]) == (1000.0, 1000.4)
    assert (flow["name"], flow["name_from"], flow["way"]) == ("www.example.com", "sniffed", None)
    assert flow["facts"]["host_asked"]


def test_flow_whose_syn_was_not_captured_is_none(tmp_path: Path) -> None:
    assert of(tmp_path, tcp(HTTP)) == []


def test_port_that_is_used_again_is_another_flow(tmp_path: Path) -> None:
    again = tcp(flags=2, seq=777_777)
    assert len(of(tmp_path, syn(), tcp(HTTP), again)) == 2


@pytest.mark.parametrize("seed", range(5))
def test_hello_in_pieces_of_any_order_names_the_server(tmp_path: Path, seed: int) -> None:
    data = in_records(hello("www.example.org")[5:], 200)
    chance = random.Random(seed)
    pieces = [tcp(data[at : at + 90], seq=1001 + at) for at in range(0, len(data), 70)]  # they overlap
    chance.shuffle(pieces)
    assert names(of(tmp_path, syn(), *pieces, *pieces)) == [("www.example.org", "sniffed")]


def test_sequence_numbers_may_wrap(tmp_path: Path) -> None:
    start = 0xFFFF_FFFF - 10
    first = tcp(flags=2, seq=start)
    pieces = [tcp(HTTP[at : at + 8], seq=(start + 1 + at) % (1 << 32)) for at in range(0, len(HTTP), 8)]
    assert names(of(tmp_path, first, *pieces)) == [("www.example.com", "sniffed")]


def test_dns_answers_tell_names_of_later_flows(tmp_path: Path) -> None:
    told = udp(answer("www.example.com", SERVER), source="10.0.0.53", target=CLIENT, sport=53, dport=5000)
    asked = udp(b"?" * 20, target="10.0.0.53", sport=5000, dport=53)
    found = of(tmp_path, asked, told, syn(), syn(source="10.0.0.9"), udp(b"x", dport=9))
    by = {(each["client"], each["target"], each["protocol"]): each["name"] for each in found}
    assert by[CLIENT, SERVER, "tcp"] == by[CLIENT, SERVER, "udp"] == "www.example.com"
    assert by["10.0.0.9", SERVER, "tcp"] is None
    assert len(found) == 4


def test_quic_tells_the_name(tmp_path: Path) -> None:
    flight = [udp(each) for each in datagrams("www.example.org", padding=2000)]
    assert len(flight) > 1
    assert names(of(tmp_path, *flight)) == [("www.example.org", "sniffed")]


def test_nothing_is_known_of_who_says_nothing_and_none_where_there_is_no_name(tmp_path: Path) -> None:
    silent, other = of(tmp_path, syn(), syn(sport=4001), tcp(b"\x00\x01binary\n", sport=4001))
    assert (silent["facts"]["host_asked"], other["facts"]["host_asked"]) == (False, True)
    assert names([silent, other]) == [(None, None)] * 2


def test_udp_and_pings_go_both_ways_and_end_when_they_are_idle(tmp_path: Path) -> None:
    back = udp(b"answer", source=SERVER, target=CLIENT, sport=443, dport=4000)
    found = of(tmp_path, udp(b"ask"), back, ping(), ping(0, SERVER, CLIENT), apart=1.0)
    assert [(each["protocol"], each["target"], each["up"], each["down"]) for each in found] == [
        ("udp", SERVER, 3, 6),
        ("icmp", SERVER, 16, 16),
    ]
    late = of(tmp_path, udp(b"a"), udp(b"b"), ping(), ping(), apart=IDLE_SECONDS + 1)
    assert sorted(each["protocol"] for each in late) == ["icmp", "icmp", "udp", "udp"]


def test_ipv6(tmp_path: Path) -> None:
    ends = {"source": "2001:db8::2", "target": "2001:db8::1"}
    (found,) = of(tmp_path, syn(**ends), tcp(HTTP, **ends))
    assert (found["client"], found["target"], found["name"]) == (*ends.values(), "www.example.com")


def test_packets_that_were_captured_in_part_count_and_are_not_heard(tmp_path: Path) -> None:
    (found,) = of(tmp_path, syn()[:40], tcp(HTTP)[:60])
    assert (found["up"], found["name"], found["facts"]["host_asked"]) == (len(HTTP), None, False)


def test_process_that_stands_beside_a_packet_is_known(tmp_path: Path) -> None:
    said = (
        "flow 17: tcp 10.0.0.2:4000 to 192.0.2.1:443 (a.example, by dns); "
        "process curl (/usr/bin/curl, user 1000); verdict dial, through direct; no rule"
    )
    path = written(
        tmp_path / "x", section(), interface(101), packet_block(syn(), comments=[said]),
        packet_block(syn(sport=1), comments=["flow 3: tcp a to b; process git"]),
        packet_block(syn(sport=2), comments=["a note; process of elimination"]),
    )  # fmt: skip
    curl, git, note = flows(path)
    assert curl["process"] == {"name": "curl", "path": "/usr/bin/curl"}
    assert (curl["facts"]["process_path"], curl["facts"]["uid"]) == ("/usr/bin/curl", 1000)
    assert (git["facts"]["process_name"], git["facts"]["uid"]) == ("git", -1)
    assert "process_asked" not in note["facts"]


PACKETS = [syn(), tcp(HTTP), udp(b"x" * 40), ping(), udp(answer("a.example", SERVER), sport=53, dport=9)]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(PACKETS), st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=4)
        ),
        max_size=6,
    )
)
def test_any_packets_are_flows_or_nothing(tmp_path: Path, edits: list[Any]) -> None:
    packets = []
    for packet, changes in edits:
        data = bytearray(packet)
        for at, octet in changes:
            data[at % len(data)] = octet
        packets.append(bytes(data))
    assert len(of(tmp_path, *packets)) <= len(packets)
