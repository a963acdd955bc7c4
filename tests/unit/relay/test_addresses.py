"""Where to listen, as users write it."""

import pytest

from tunproxy.errors import ConfigError
from tunproxy.relay.addresses import Listen, parse_listen, peer_name


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("192.0.2.1:8080", Listen("192.0.2.1", 8080)),
        ("[2001:db8::1]:443", Listen("2001:db8::1", 443)),
        (":8080", Listen("::", 8080)),
        ("127.0.0.1:0", Listen("127.0.0.1", 0)),
    ],
)
def test_places_are_read(text: str, found: Listen) -> None:
    assert parse_listen(text) == found
    assert parse_listen(str(found)) == found


@pytest.mark.parametrize(
    "text",
    ["", "8080", "example.com:80", "1.2.3.4", "1.2.3.4:", "1.2.3.4:x", "1.2.3.4:65536", "::1:80", "[::1]"],
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="nowhere to listen"):
        parse_listen(text)


def test_loopback_is_known() -> None:
    assert Listen("127.0.0.2", 1).is_loopback
    assert Listen("::1", 1).is_loopback
    assert not Listen("::", 1).is_loopback


def test_peers_are_shown_as_people_know_them() -> None:
    assert peer_name(("192.0.2.1", 7)) == "192.0.2.1:7"
    assert peer_name(("::ffff:192.0.2.1", 7, 0, 0)) == "192.0.2.1:7"
    assert peer_name(("2001:db8::1", 7, 0, 0)) == "[2001:db8::1]:7"
