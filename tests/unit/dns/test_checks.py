"""Settings that make no sense, each at its key."""

from typing import Any

import pytest

from tunproxy.dns.checks import check_settings, domain_of, packed_of, problems_of
from tunproxy.dns.settings import DnsSettings
from tunproxy.errors import ConfigError


@pytest.mark.parametrize(
    ("settings", "path", "why"),
    [
        ({"mode": "magic"}, ("mode",), "'magic' is not one of real-ip, fake-ip, off"),
        ({"strategy": "luck"}, ("strategy",), "'luck' is not one of failover, race"),
        ({"servers": ("system", "quic://192.0.2.1")}, ("servers", 1), "no way 'quic' to it"),
        ({"bootstrap": ("tls://a..b",)}, ("bootstrap", 0), "no host name"),
        ({"domains": {"*.x": ("192.0.2.1",)}}, ("domains", "*.x"), "not a domain"),
        ({"domains": {"a..b": ("192.0.2.1",)}}, ("domains", "a..b"), "no host name"),
        ({"domains": {"a.b": ("192.0.2.1", "x://y")}}, ("domains", "a.b", 1), "no way 'x'"),
        ({"hosts": {"nas.lan": ("192.0.2.1", "x")}}, ("hosts", "nas.lan"), "write addresses, or one name"),
        ({"client_subnet": "x"}, ("client-subnet",), "'x' does not appear to be an IPv4 or IPv6 network"),
        ({"client_subnet": "192.0.2.1/24"}, ("client-subnet",), "has host bits set"),
        ({"fake_ip_range": "10.0.0.0/30"}, ("fake-ip-range",), "64 or more"),
        ({"fake_ip_range6": "10.0.0.0/8"}, ("fake-ip-range6",), "not an IPv6 range"),
        ({"fake_ip_filter": ("+.lan", "a..b")}, ("fake-ip-filter", 1), "no host name"),
        ({"hijack_except": ("192.0.2.1", "x")}, ("hijack-except", 1), "'x' is not an IP address"),
    ],
)
def test_value_that_makes_no_sense_is_told_with_its_key(
    settings: dict[str, Any], path: tuple[str | int, ...], why: str
) -> None:
    [(where, words)] = problems_of(DnsSettings(**settings))
    assert where == path
    assert why in words
    with pytest.raises(ConfigError, match=rf"^\[dns\] {path[0]}: "):
        check_settings(DnsSettings(**settings))


def test_everything_is_told_at_once() -> None:
    settings = DnsSettings(mode="magic", servers=("x://y", "x://z"), hijack_except=("x",))
    assert [path for path, _ in problems_of(settings)] == [
        ("mode",),
        ("servers", 0),
        ("servers", 1),
        ("hijack-except", 0),
    ]


@pytest.mark.parametrize("text", ["Corp.Example", "+.corp.example", ".corp.example", "corp.example."])
def test_domain_is_written_in_many_ways(text: str) -> None:
    assert domain_of(text) == "corp.example"


def test_address_is_packed() -> None:
    assert packed_of("192.0.2.1") == bytes((192, 0, 2, 1))
    assert len(packed_of("2001:db8::1")) == 16


def test_no_ipv6_range_is_none() -> None:
    assert problems_of(DnsSettings(fake_ip_range6="")) == []
