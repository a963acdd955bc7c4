"""resolv.conf: reading the host's, writing ours. The mounts are tested in ``tests/system/test_exec.py``."""

from pathlib import Path

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.host import resolver

SETTINGS = """\
# made by somebody
; and somebody else
nameserver 192.0.2.1   # the router
  nameserver fd00::53
nameserver fe80::1%eth0
nameserver nonsense
nameserver
search example.org lan
options edns0 trust-ad
unknown keyword
"""


def test_nameservers_are_the_usable_ones_in_order() -> None:
    assert resolver.nameservers(SETTINGS) == ["192.0.2.1", "fd00::53"]


@pytest.mark.parametrize("settings", ["", "# nothing\n", "nameserver fe80::1%eth0\n", "search lan\n"])
def test_nameservers_without_a_usable_one_are_the_c_librarys(settings: str) -> None:
    assert resolver.nameservers(settings) == ["127.0.0.1"]


def test_nameservers_on_loopback_are_usable() -> None:
    assert resolver.nameservers("nameserver 127.0.0.53\n") == ["127.0.0.53"]


def test_with_nameservers_replaces_them_and_keeps_search_and_options() -> None:
    text = resolver.with_nameservers(SETTINGS, ["10.0.0.1", "fd00::1"])
    assert text == (
        "nameserver 10.0.0.1\nnameserver fd00::1\nsearch example.org lan\noptions edns0 trust-ad\n"
    )


@needs_namespaces
def test_replace_resolv_conf_is_seen_here_and_readable_by_all() -> None:
    def check() -> None:
        resolver.replace_resolv_conf("nameserver 10.0.0.1\n")
        assert resolver.read_host_settings() == "nameserver 10.0.0.1\n"
        assert resolver.RESOLV_CONF.stat().st_mode & 0o777 == 0o644

    before = resolver.read_host_settings()
    leftovers = set(Path("/tmp").glob("tunproxy-*"))
    isolated(check)
    assert resolver.read_host_settings() == before
    assert set(Path("/tmp").glob("tunproxy-*")) == leftovers
