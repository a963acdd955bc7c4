"""Which targets may be reached: the lists, what is reserved, and names that lead where they should not."""

import ipaddress

import pytest

from tunproxy.errors import ConfigError
from tunproxy.relay.targets import Address, Entry, Targets, is_own, parse_entry


def targets(
    allow: tuple[str, ...] = (), deny: tuple[str, ...] = (), *, default: bool = True, own: str = ""
) -> Targets:
    def is_ours(address: Address) -> bool:
        return str(address) == own

    return Targets(map(parse_entry, allow), map(parse_entry, deny), default=default, is_ours=is_ours)


@pytest.mark.parametrize(
    "address", ["192.0.2.7", "8.8.8.8", "2001:db8::7", "2606:4700::1", "64:ff9b::808:808"]
)
def test_the_world_may_be_reached(address: str) -> None:
    assert targets().refuses(address, 443) == ""


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.1", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "255.255.255.255",
        "240.0.0.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1",
        "2002:7f00:1::", "2002:a00:1::1", "::127.0.0.1",
    ],
)  # fmt: skip
def test_reserved_addresses_may_not(address: str) -> None:
    assert "private, local or multicast" in targets().refuses(address, 443)


def test_reserved_address_may_where_its_network_is_allowed() -> None:
    judge = targets(allow=("10.20.0.0/16", "127.0.0.1:8080"))
    assert judge.refuses("10.20.1.1", 443) == ""
    assert judge.refuses("10.21.1.1", 443) != ""
    assert judge.refuses("127.0.0.1", 8080) == ""
    assert judge.refuses("127.0.0.1", 8081) != ""


def test_name_that_is_allowed_does_not_lead_into_private_networks() -> None:
    judge = targets(allow=("*.example.com",))
    assert judge.refuses("192.0.2.7", 443, "www.example.com") == ""
    assert judge.refuses("10.0.0.1", 443, "www.example.com") != ""


def test_own_addresses_may_not() -> None:
    judge = targets(own="192.0.2.1")
    assert judge.refuses("192.0.2.1", 443) == "the relay does not reach itself"
    assert judge.refuses("192.0.2.2", 443) == ""
    assert targets(allow=("192.0.2.1",), own="192.0.2.1").refuses("192.0.2.1", 443) == ""
    assert judge.refuses("::ffff:192.0.2.1", 443) == "the relay does not reach itself"


def test_deny_comes_first() -> None:
    judge = targets(
        allow=("192.0.2.0/24",), deny=("192.0.2.7", "*:25", "*.bad.test:443", "[2001:db8::/32]:22")
    )
    assert judge.refuses("192.0.2.7", 443) != ""
    assert judge.refuses("192.0.2.8", 25) == "the relay does not allow this port"
    assert judge.refuses("192.0.2.8", 26) == ""
    assert judge.refuses("2001:db8::1", 22) != ""
    assert judge.refuses("2001:db8::1", 23) == ""
    assert judge.refuses("::ffff:192.0.2.7", 443) != ""
    assert judge.refuses_name("bad.test", 443)
    assert judge.refuses_name("WWW.Bad.Test.", 443)
    assert not judge.refuses_name("www.bad.test", 80)
    assert not judge.refuses_name("notbad.test", 443)


def test_default_deny_leaves_what_is_allowed() -> None:
    judge = targets(allow=("example.com", "192.0.2.0/24:443", "*:53"), default=False)
    assert judge.refuses("198.51.100.1", 80) == "the relay does not allow this target"
    assert judge.refuses("198.51.100.1", 80, "example.com") == ""
    assert judge.refuses("198.51.100.1", 80, "www.example.com") != ""
    assert judge.refuses("192.0.2.9", 443) == ""
    assert judge.refuses("198.51.100.1", 53) == ""
    assert judge.refuses("127.0.0.1", 53) != ""


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("example.com", Entry(None, "example.com")),
        ("*.Example.com:443", Entry(None, "example.com", True, range(443, 444))),
        ("+.example.com", Entry(None, "example.com", True)),
        ("*:1-1023", Entry(None, "*", False, range(1, 1024))),
    ],
)
def test_entries_that_are_names(text: str, entry: Entry) -> None:
    assert parse_entry(text) == entry


@pytest.mark.parametrize(
    "text",
    [
        "", "a b", "192.0.2.0/33", "example.com:0", "example.com:9-8", "example.com:70000", "[::1", "1.2.3",
        "[example.com]:1", "a:b", "-a.com", "http://x", "*.*.com",
    ],
)  # fmt: skip
def test_entries_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_entry(text)


def test_is_own_knows_this_host() -> None:
    assert is_own(ipaddress.ip_address("127.0.0.1"))
    assert not is_own(ipaddress.ip_address("192.0.2.77"))
