"""One table is read, and nothing of the others comes out of the kernel."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_network

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.host import route_dump
from tunproxy.host.exceptions import RTN_THROW, ExceptionTable
from tunproxy.host.netlink import RTN_UNICAST, RTN_UNREACHABLE
from tunproxy.host.route_dump import RouteReader

pytestmark = [needs_namespaces, pytest.mark.needs("ip")]

LANE, OURS = 7778, 7777


def make_host() -> None:
    for line in (
        "link set lo up", "link add e0 type veth peer name e1", "link set e0 up", "link set e1 up",
        "address add 192.0.2.1/24 dev e0", f"route add default dev e1 table {OURS}",
        f"route add 198.51.100.0/24 dev e0 table {OURS}",
        f"route add unreachable default metric 9 table {OURS}",
        f"route add default dev e1 table {LANE}", f"-6 route add default dev e1 table {OURS}",
    ):  # fmt: skip
        subprocess.run(["ip", *line.split()], check=True, timeout=10)


def test_table_is_read_with_what_its_routes_are() -> None:
    def check() -> None:
        make_host()
        with closing(RouteReader()) as reader:
            found = reader.read(socket.AF_INET, OURS)
            assert {(str(each.prefix), each.kind) for each in found} == {
                ("0.0.0.0/0", RTN_UNICAST),
                ("0.0.0.0/0", RTN_UNREACHABLE),
                ("198.51.100.0/24", RTN_UNICAST),
            }
            e1 = socket.if_nametoindex("e1")
            (into,) = reader.read(socket.AF_INET, OURS, e1)
            assert (str(into.prefix), into.link) == ("0.0.0.0/0", e1)
            (into,) = reader.read(socket.AF_INET6, OURS, e1)
            assert str(into.prefix) == "::/0"
            assert reader.read(socket.AF_INET, 4711) == []
            assert "192.0.2.0/24" in {str(each.prefix) for each in reader.read(socket.AF_INET, 254)}

    isolated(check)


def test_thousands_of_routes_of_others_are_not_even_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = route_dump._parsed
    looks: list[int] = []

    def count(data: bytes, at: int, end: int) -> object:
        looks.append(at)
        return parsed(data, at, end)

    def prefixes() -> Iterator[str]:
        return (f"11.{number // 256}.{number % 256}.0/24" for number in range(2000))

    def check() -> None:
        make_host()
        with ExceptionTable(LANE) as table:
            table.change((), map(ip_network, prefixes()))
        monkeypatch.setattr(route_dump, "_parsed", count)
        with closing(RouteReader()) as reader:
            assert len(reader.read(socket.AF_INET, OURS)) == 3
            assert len(reader.read(socket.AF_INET, LANE, socket.if_nametoindex("e1"))) == 1
            assert len(looks) <= 4
            lane = reader.read(socket.AF_INET, LANE)
            assert len(lane) == 2001
            assert sum(each.kind == RTN_THROW for each in lane) == 2000

    isolated(check)
