"""Which addresses may be dialled."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunproxy.flow.targets import Targets, is_martian_target, is_multicast


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


@pytest.mark.parametrize("address", ["8.8.8.8", "10.1.2.3", "169.254.1.1", "2001:db8::1", "fe80::1", "::2"])
def test_ordinary_address_is_dialled_as_it_is(address: str) -> None:
    assert Targets({}).resolve(packed(address), 443) == (address, 443)


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.254", "240.0.0.1", "255.255.255.255", "::", "::1",
     "::ffff:127.0.0.1", "::ffff:8.8.8.8"],
)  # fmt: skip
def test_address_of_nobody_out_there_is_not_dialled(address: str) -> None:
    assert is_martian_target(packed(address))
    assert Targets({}).resolve(packed(address), 443) is None
    assert Targets({(packed("192.0.2.1"), 53): ("127.0.0.1", 53)}).resolve(packed(address), 443) is None


def test_map_of_one_port_comes_before_that_of_all() -> None:
    targets = Targets(
        {
            (packed("10.0.0.3"), 53): ("127.0.0.53", 5353),
            (packed("10.0.0.3"), 0): ("127.0.0.1", 0),
            (packed("fd00::3"), 0): ("::1", 80),
        }
    )
    assert targets.resolve(packed("10.0.0.3"), 53) == ("127.0.0.53", 5353)
    assert targets.resolve(packed("10.0.0.3"), 80) == ("127.0.0.1", 80)
    assert targets.resolve(packed("fd00::3"), 443) == ("::1", 80)
    assert targets.resolve(packed("10.0.0.4"), 53) == ("10.0.0.4", 53)


def test_map_may_name_an_address_that_is_else_not_dialled() -> None:
    targets = Targets({(packed("127.0.0.1"), 53): ("192.0.2.53", 0)})
    assert targets.resolve(packed("127.0.0.1"), 53) == ("192.0.2.53", 53)
    assert targets.resolve(packed("127.0.0.1"), 54) is None


def test_addresses_are_remembered_without_bound_on_the_answers() -> None:
    targets = Targets({})
    for number in range(70_000):
        address = bytes([10, number >> 16, number >> 8 & 255, number & 255])
        assert targets.resolve(address, 1) == (socket.inet_ntoa(address), 1)


@pytest.mark.parametrize("address", ["224.0.0.1", "239.255.255.250", "255.255.255.255", "ff02::1", "ff0e::1"])
def test_group_is_multicast(address: str) -> None:
    assert is_multicast(packed(address))


@pytest.mark.parametrize("address", ["223.255.255.255", "240.0.0.1", "10.255.255.255", "fe80::1", "::"])
def test_one_host_is_not_multicast(address: str) -> None:
    assert not is_multicast(packed(address))


@given(
    st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)), st.integers(0, 65535)
)
def test_any_address_resolves_or_not_without_an_exception(address: bytes, port: int) -> None:
    found = Targets({}).resolve(address, port)
    assert (found is None) == is_martian_target(address)
    is_multicast(address)
