"""Hosts files."""

from tests.unit.rulesets.programs import damaged
from tunproxy.rules.model import RuleError, RuleSetContent
from tunproxy.rulesets.hosts import add_hosts_line, is_address, read_hosts

DATA = b"""127.0.0.1 localhost
::1 ip6-localhost ip6-loopback
# ads
0.0.0.0 ads.example  Track.example # both
192.0.2.7\tserver.example.
fe80::1%lo0 localhost
nonsense
0.0.0.0 bad..name
"""


def test_names_but_those_of_the_machine() -> None:
    content = read_hosts(DATA, "x")
    assert content.exact == ["ads.example", "track.example", "server.example"]
    assert [place.line for place, _ in content.skipped] == [7, 8]


def test_blocking_leaves_real_addresses_out() -> None:
    content = RuleSetContent()
    assert add_hosts_line(content, "0.0.0.0 a.b", blocking=True) == ""
    assert "real address" in add_hosts_line(content, "192.0.2.1 c.d", blocking=True)
    assert content.exact == ["a.b"]


def test_addresses() -> None:
    assert all(map(is_address, ("0", "1.2.3.4", "::", "fe80::1%eth0")))
    assert not any(map(is_address, ("", "a.b", "1.2.3", "1.2.3.4/8", "::g")))


def test_damaged_file_is_read_or_refused() -> None:
    for copy in damaged(DATA, 12, 400):
        try:
            assert isinstance(read_hosts(copy, "x"), RuleSetContent)
        except RuleError:
            assert b"\0" in copy
