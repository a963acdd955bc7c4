"""How people write down where a resolver is."""

import pytest

from tunproxy.dns.locations import Location, parse_location
from tunproxy.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.1.1.1", ("udp", "1.1.1.1", 53, "1.1.1.1", "")),
        ("2606:4700::1111", ("udp", "2606:4700::1111", 53, "2606:4700::1111", "")),
        ("fe80::1%eth0", ("udp", "fe80::1%eth0", 53, "fe80::1%eth0", "")),
        ("192.0.2.1:5353", ("udp", "192.0.2.1", 5353, "192.0.2.1", "")),
        ("udp://192.0.2.1", ("udp", "192.0.2.1", 53, "192.0.2.1", "")),
        ("udp://[2606:4700::1111]:54", ("udp", "2606:4700::1111", 54, "2606:4700::1111", "")),
        ("tcp://192.0.2.1", ("tcp", "192.0.2.1", 53, "192.0.2.1", "")),
        ("tls://dns.example@192.0.2.1:8853", ("tls", "dns.example", 8853, "192.0.2.1", "")),
        ("tls://dns.example@[2001:db8::1]", ("tls", "dns.example", 853, "2001:db8::1", "")),
        ("tls://dns.example", ("tls", "dns.example", 853, "", "")),
        ("tls://192.0.2.1", ("tls", "192.0.2.1", 853, "192.0.2.1", "")),
        ("https://dns.example/dns-query", ("https", "dns.example", 443, "", "/dns-query")),
        ("https://dns.example@192.0.2.1:444/q/x", ("https", "dns.example", 444, "192.0.2.1", "/q/x")),
        ("https://192.0.2.1", ("https", "192.0.2.1", 443, "192.0.2.1", "/dns-query")),
        ("udp://dns.example", ("udp", "dns.example", 53, "", "")),
    ],
)
def test_location_is_read(text: str, expected: tuple[str, str, int, str, str]) -> None:
    found = parse_location(text)
    assert (found.scheme, found.host, found.port, found.address, found.path) == expected
    assert found.text == text
    assert found.needs_bootstrap is (expected[3] == "")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not an address or URL"),
        ("quic://192.0.2.1", "no way 'quic'"),
        ("udp://192.0.2.1:99999", "resolver 'udp://192.0.2.1:99999'"),
        ("udp://192.0.2.1:x", "resolver"),
        ("udp://[::1", "resolver"),
        ("udp://192.0.2.1/path", "only https has a path"),
        ("tls://a@b.example", "behind the @ belongs an address"),
        ("tls://user:password@192.0.2.1", "not an address or URL"),
        ("https://dns.example/q?x=1", "not an address or URL"),
        ("tls://a..b", "no host name"),
        ("tls://a b", "no host name"),
    ],
)
def test_location_that_is_none_is_the_users_mistake(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse_location(text)


def test_two_writings_are_two_locations() -> None:
    assert parse_location("192.0.2.1") == Location("192.0.2.1", "udp", "192.0.2.1", 53, "192.0.2.1")
