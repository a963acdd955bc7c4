"""[dns] becomes settings: each key is heard, and files are where they belong."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tunproxy.control import naming, resolver_search
from tunproxy.control.config.read import read_config
from tunproxy.control.config.schema import DnsConfig
from tunproxy.control.naming import asks_system, dns_settings, fake_file, fake_files, host_resolvers
from tunproxy.dns.settings import DnsSettings

EVERYTHING = """
[dns]
mode = "fake-ip"
servers = ["192.0.2.1", "system"]
bootstrap = ["192.0.2.2"]
strategy = "race"
domains = { "corp.example" = ["192.0.2.3"] }
hosts = { "nas.lan" = ["192.0.2.4", "2001:db8::4"] }
hosts-file = false
cache-size = 7
serve-stale = 60
random-capitals = false
client-subnet = "203.0.113.0/24"
ca-file = "ca.pem"
fake-ip-range = "10.8.0.0/16"
fake-ip-range6 = ""
fake-ip-filter = ["+.corp"]
fake-ip-file = "fake"
hijack-except = ["192.0.2.9"]
fake-ip-targets = ["work"]
drain = 7.5
resolved = false
"""


def config_of(text: str) -> DnsConfig:
    return read_config(text.encode(), "t.toml", Path("/etc/t"), {}).config.dns


def test_every_key_is_heard() -> None:
    assert dns_settings(config_of(EVERYTHING), ["192.0.2.7"], {}) == DnsSettings(
        mode="fake-ip",
        servers=("192.0.2.1", "system"),
        bootstrap=("192.0.2.2",),
        strategy="race",
        domains={"corp.example": ("192.0.2.3",)},
        hosts={"nas.lan": ("192.0.2.4", "2001:db8::4")},
        hosts_file=False,
        cache_size=7,
        serve_stale=60,
        random_capitals=False,
        client_subnet="203.0.113.0/24",
        ca_file=Path("/etc/t/ca.pem"),
        fake_ip_range="10.8.0.0/16",
        fake_ip_range6="",
        fake_ip_filter=("+.corp",),
        fake_ip_file=Path("/etc/t/fake"),
        needs_fake_ip_file=True,
        hijack_except=("192.0.2.9",),
        system=("192.0.2.7",),
    )


def test_no_key_of_the_file_is_left_over() -> None:
    """The test above names each key, so that a new one cannot be forgotten."""
    config, plain = config_of(EVERYTHING), DnsConfig()
    same = [name for name in config.__struct_fields__ if getattr(config, name) == getattr(plain, name)]
    assert same == []


def test_nothing_said_is_the_default() -> None:
    settings = dns_settings(DnsConfig(), (), {"HOME": "/home/me"})
    assert settings == DnsSettings(
        fake_ip_file=Path("/home/me/.local/state/tunproxy/fake-ip"), needs_fake_ip_file=False
    )


def test_no_file_for_fake_addresses_is_none() -> None:
    settings = dns_settings(msgspec.structs.replace(DnsConfig(), fake_ip_file=""))
    assert settings.fake_ip_file is None


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "HOME": "/root"}, "/var/lib/a/fake-ip"),
        ({"XDG_STATE_HOME": "/s", "HOME": "/root"}, "/s/tunproxy/fake-ip"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/root"}, "/root/.local/state/tunproxy/fake-ip"),
        ({}, "/var/lib/tunproxy/fake-ip"),
    ],
)
def test_fake_addresses_are_kept_where_state_is(environment: dict[str, str], expected: str) -> None:
    assert fake_file(environment) == Path(expected)


def test_resolver_on_the_host_is_asked_only_from_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A stub on the host asks through the device when all of the host does, and would ask us."""
    conf = tmp_path / "resolv.conf"
    conf.write_text("nameserver 127.0.0.53\n")

    def found(*, may_use_loopback: bool) -> list[str]:
        return system_resolvers(may_use_loopback=may_use_loopback, resolv_conf=conf, behind_stubs=())

    def found_elsewhere(**options: Any) -> list[str]:
        return system_resolvers(**{**options, "resolv_conf": conf, "behind_stubs": ()})

    system_resolvers = naming.system_resolvers
    monkeypatch.setattr(naming, "system_resolvers", found)
    monkeypatch.setattr(resolver_search, "system_resolvers", found_elsewhere)
    monkeypatch.setattr(resolver_search, "has_bus", lambda: False)
    assert host_resolvers(is_apart=True) == ("127.0.0.53",)
    assert host_resolvers(is_apart=False) == ()
    conf.write_text("")
    assert host_resolvers(is_apart=True) == ("127.0.0.1",), "whom the C library asks"


def test_file_of_fake_addresses_is_opened_where_they_are_wanted(tmp_path: Path) -> None:
    fake = DnsConfig(mode="fake-ip", fake_ip_file=str(tmp_path / "below" / "fake"))
    files = fake_files(fake)
    assert files is not None
    assert os.fstat(files.fd).st_ino == (tmp_path / "below" / "fake").stat().st_ino
    assert os.fstat(files.lock_fd).st_ino == (tmp_path / "below" / "fake.lock").stat().st_ino
    files.close()
    default = fake_files(DnsConfig(mode="fake-ip"), {"XDG_STATE_HOME": str(tmp_path)})
    assert default is not None
    default.close()
    assert (tmp_path / "tunproxy" / "fake-ip").exists()


def test_file_of_fake_addresses_is_not_opened_where_it_is_not_needed_or_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for config in (
        DnsConfig(fake_ip_file=str(tmp_path / "a")),
        DnsConfig(mode="off", fake_ip_file=str(tmp_path / "a")),
        DnsConfig(mode="fake-ip", fake_ip_file=""),
        DnsConfig(mode="fake-ip", fake_ip_file=str(tmp_path / "file" / "below")),
    ):
        assert fake_files(config) is None
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (DnsConfig(), True),
        (DnsConfig(mode="off"), False),
        (DnsConfig(servers=("192.0.2.1",)), False),
        (DnsConfig(servers=("192.0.2.1", "system")), True),
        (DnsConfig(servers=("tls://dns.example",), bootstrap=("system",)), True),
        (DnsConfig(servers=("192.0.2.1",), domains={"lan": ("system",)}), True),
    ],
)
def test_hosts_resolvers_matter_where_they_are_asked(config: DnsConfig, expected: bool) -> None:
    assert asks_system(config) is expected
