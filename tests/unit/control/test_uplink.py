"""What a worker does when the network around it is another one."""

from collections.abc import Callable

import pytest

from tunproxy.control.uplink import LocalAddresses, Uplink

HOME = ["127.0.0.0/8", "127.0.0.1/32", "192.0.2.1/32", "2001:db8::1/128", "198.18.0.0/24"]


class Table:
    """Has flows that left from these addresses, as many as there are letters."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.looks = 0

    def cut_off(self, is_here: Callable[[str], bool]) -> int:
        self.looks += 1
        gone = [each for each in self.addresses if not is_here(each)]
        self.addresses = [each for each in self.addresses if each not in gone]
        return len(gone)


def test_addresses_are_told_by_their_prefixes() -> None:
    local = LocalAddresses(tuple(HOME))
    for address in ("192.0.2.1", "2001:db8::1", "127.9.9.9", "::1", "198.18.0.77"):
        assert local.has(address)
        assert local.has(address)
    for address in ("192.0.2.2", "2001:db8::2", "198.18.1.1"):
        assert not local.has(address)
    with pytest.raises(ValueError, match="x"):
        local.has("x")


def test_flows_are_cut_where_an_address_is_gone_and_looked_at_only_then() -> None:
    table, other = Table("192.0.2.1", "2001:db8::1"), Table("192.0.2.1")
    renewed: list[str] = []
    uplink = Uplink((table, other), (lambda: renewed.append("health"), lambda: renewed.append("names")))
    assert uplink.take({"local": HOME, "renewals": 0}) == {"reset": 0}
    assert table.looks == 0, "what is being opened at the start is on the way that there is"
    assert uplink.take({"local": [*HOME, "192.0.2.9/32"], "renewals": 0}) == {"reset": 0}
    assert table.looks == 0, "an address more is no reason to look"
    without = [each for each in HOME if each != "192.0.2.1/32"]
    assert uplink.take({"local": without, "renewals": 0}) == {"reset": 2}
    assert (table.addresses, other.addresses, renewed) == (["2001:db8::1"], [], [])
    assert not uplink.is_here("192.0.2.1")


def test_what_may_be_dead_is_renewed_once_for_each_renewal_and_not_at_the_start() -> None:
    renewed: list[str] = []
    uplink = Uplink((Table(),), (lambda: renewed.append("x"),))
    for renewals in (3, 3, 4, 4):
        uplink.take({"local": HOME, "renewals": renewals})
    assert renewed == ["x"]


def test_way_out_is_known_by_the_addresses_that_it_is_left_from() -> None:
    uplink = Uplink((Table(),))
    assert not uplink.is_way_out("192.0.2.1")
    uplink.take({"local": HOME, "renewals": 0, "sources": ["192.0.2.1"]})
    assert (uplink.is_way_out("192.0.2.1"), uplink.is_way_out("198.18.0.1")) == (True, False)
    uplink.take({"local": HOME, "renewals": 0, "sources": []})
    assert not uplink.is_way_out("192.0.2.1")


def test_versions_over_which_we_come_back_are_passed_on() -> None:
    refused: list[tuple[int, ...]] = []
    uplink = Uplink((Table(),), refuse=lambda versions: refused.append(tuple(versions)))
    for loops in ([4], []):
        uplink.take({"local": HOME, "renewals": 0, "loops": loops})
    assert refused == [(4,), ()]
