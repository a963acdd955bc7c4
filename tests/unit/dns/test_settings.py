"""What stands where the user says nothing."""

import dataclasses

import pytest

from tunproxy.dns.checks import problems_of
from tunproxy.dns.settings import MODES, REAL_IP, SYSTEM, DnsSettings


def test_defaults_ask_the_hosts_resolvers_and_tell_nobody_where_we_are() -> None:
    settings = DnsSettings()
    assert (settings.mode, settings.servers, settings.client_subnet) == (REAL_IP, (SYSTEM,), "")
    assert settings.serve_stale == 0
    assert REAL_IP in MODES


def test_defaults_make_sense() -> None:
    assert problems_of(DnsSettings()) == []


def test_settings_are_compared_by_what_they_say_and_never_change() -> None:
    assert DnsSettings(hosts={"a": "192.0.2.1"}) == DnsSettings(hosts={"a": "192.0.2.1"})
    assert DnsSettings() != DnsSettings(cache_size=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        DnsSettings().mode = "off"  # type: ignore[misc]
