"""Exceptions from a routing table, in bundles, in the real kernel."""

import os
import subprocess
from ipaddress import ip_network

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.errors import SystemChangeError
from tunproxy.host.addresses import Network
from tunproxy.host.exceptions import BUNDLE, ExceptionTable
from tunproxy.host.netlink import Netlink

pytestmark = [needs_namespaces, pytest.mark.needs("ip")]

TABLE = 1234
SOME: list[Network] = [
    ip_network(text)
    for text in ("0.0.0.0/0", "10.0.0.0/8", "192.0.2.1/32", "::/0", "2001:db8::/32", "fc00::1/128")
]
MANY: list[Network] = [ip_network((0x0B00_0000 + (number << 9), 24)) for number in range(3 * BUNDLE + 5)]


def shown(family: str) -> list[str]:
    command = ["ip", family, "route", "show", "table", str(TABLE)]
    return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.splitlines()


def test_exceptions_are_made_read_and_taken_back() -> None:
    def check() -> None:
        with ExceptionTable(TABLE) as table:
            assert table.prefixes() == set()
            table.change((), SOME)
            assert table.prefixes() == set(SOME)
            assert sorted(line.split()[1] for line in shown("-4")) == ["10.0.0.0/8", "192.0.2.1", "default"]
            assert all(line.split()[0] == "throw" for family in ("-4", "-6") for line in shown(family))
            table.change(SOME[:1], [*SOME[1:], *MANY])
            assert table.prefixes() == {*SOME[1:], *MANY}
            table.change([*SOME, *MANY], ())
            assert table.prefixes() == set()
            assert shown("-4") == shown("-6") == []

    isolated(check)


def test_routes_of_others_and_of_other_tables_are_not_ours() -> None:
    def check() -> None:
        with Netlink() as net:
            net.set_link("lo", up=True)
        for route in (
            ("throw", "203.0.113.0/24", "table", str(TABLE)),
            ("throw", "203.0.114.0/24", "table", str(TABLE + 1), "proto", "119"),
            ("203.0.115.0/24", "dev", "lo", "table", str(TABLE), "proto", "119"),
            ("throw", "203.0.116.0/24", "table", str(TABLE), "proto", "119"),
        ):
            subprocess.run(["ip", "route", "add", *route], check=True, timeout=10)
        with ExceptionTable(TABLE) as table:
            assert table.prefixes() == {ip_network("203.0.116.0/24")}

    isolated(check)


def test_without_rights_it_says_so() -> None:
    def check() -> None:
        os.setresuid(61_000, 61_000, 61_000)
        with ExceptionTable(TABLE) as table:
            assert table.prefixes() == set()
            why = r"^cannot except 10\.0\.0\.0/8 from routing table 1234: not permitted \(needs CAP_NET_ADMIN"
            with pytest.raises(SystemChangeError, match=why):
                table.change((), [ip_network("10.0.0.0/8")])

    isolated(check)
