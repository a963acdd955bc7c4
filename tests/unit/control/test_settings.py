"""What users may ask for."""

import os
from ipaddress import ip_address, ip_network

import pytest

from tunproxy.control import settings
from tunproxy.control.config.schema import DeviceConfig
from tunproxy.control.settings import (
    ExecSettings,
    PathSettings,
    UpSettings,
    with_device,
    worker_count,
)
from tunproxy.errors import ConfigError


def test_defaults_are_valid() -> None:
    PathSettings().check()
    UpSettings().check()
    ExecSettings(command=("true",)).check()


@pytest.mark.parametrize(
    "wanted",
    [
        {"mtu": 1280},
        {"mtu": 65_535},
        {"mark": 0xFFFF_FFFF},
        {"udp_timeout": 0.5},
        {"memory": 16 << 20},
        {"memory": 1 << 40},
        {"bind_interface": "lo"},
        {"tun": "a" * 15},
    ],
    ids=str,
)
def test_path_settings_at_the_edge_are_taken(wanted: dict[str, object]) -> None:
    PathSettings(**wanted).check()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        ({"mtu": 1279}, "cannot use mtu 1279: must be 1280 to 65535"),
        ({"mtu": 65_536}, "cannot use mtu 65536: must be 1280 to 65535"),
        ({"mark": -1}, "cannot use mark -1: must be 0 to 4294967295"),
        ({"mark": 1 << 32}, "cannot use mark 4294967296"),
        ({"udp_timeout": 0.0}, "cannot use udp timeout 0: must be a number of seconds above 0"),
        ({"memory": (16 << 20) - 1}, "cannot use memory 16777215: must be 16M to 1024G"),
        ({"memory": (1 << 40) + 1}, "cannot use memory 1099511627777: must be 16M to 1024G"),
        ({"udp_timeout": float("nan")}, "cannot use udp timeout nan"),
        ({"udp_timeout": float("inf")}, "cannot use udp timeout inf"),
        ({"bind_interface": "nix"}, r"cannot bind to interface 'nix': there is none \(there are: .*lo"),
        ({"tun": ""}, "cannot use '' as a device name"),
    ],
    ids=str,
)
def test_path_settings_beyond_the_edge_are_refused(wanted: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=f"^{complaint}"):
        PathSettings(**wanted).check()  # type: ignore[arg-type]


def test_worker_uid_of_root_needs_a_mark_or_no_routes() -> None:
    with pytest.raises(ConfigError, match=r"^cannot use worker uid 0: all of root's traffic would bypass us"):
        UpSettings(worker_uid=0).check()
    UpSettings(worker_uid=0, mark=7).check()
    UpSettings(worker_uid=0, routes=()).check()


@pytest.mark.parametrize("uid", [-1, (1 << 32) - 1])
def test_worker_uid_beyond_the_range_is_refused(uid: int) -> None:
    with pytest.raises(ConfigError, match=r"^cannot use worker uid"):
        UpSettings(worker_uid=uid).check()


@pytest.mark.parametrize("text", ["10.0.0.0/8", "0.0.0.0/0", "::/0", "fd00::/8", "192.0.2.1"])
def test_network_is_parsed(text: str) -> None:
    assert settings.parse_network(text) == ip_network(text)


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "10.0.0.0/33", "10.0.0", "example.org", "::/129", "lo"])
def test_network_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^cannot route "):
        UpSettings(routes=(text,)).check()


@pytest.mark.parametrize("text", ["192.0.2.200", "10.231.77.2", "2001:db8::5", "fd00::1"])
def test_host_address_is_parsed(text: str) -> None:
    assert settings.parse_host_address(text) == ip_address(text)


@pytest.mark.parametrize(
    "text",
    ["", "127.0.0.1", "::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "fe80::1", "10.231.77.1", "10.0.0.0/8"],
)
def test_host_address_that_never_leaves_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^cannot use .* as host address: "):
        ExecSettings(command=("true",), host_addresses=(text,)).check()


def test_device_of_the_configuration_stands_where_the_command_line_says_nothing() -> None:
    device = DeviceConfig(name="t7", mtu=1400, memory="64M")
    found = with_device(PathSettings(), device)
    assert (found.tun, found.mtu, found.memory) == ("t7", 1400, 64 << 20)
    said = with_device(PathSettings(mtu=9000, said=frozenset({"mtu", "tun"})), device)
    assert (said.tun, said.mtu, said.memory) == ("tunproxy0", 9000, 64 << 20)
    assert with_device(PathSettings(), DeviceConfig()) == PathSettings()


@pytest.mark.parametrize(
    "device", [DeviceConfig(mtu=1), DeviceConfig(memory="lots"), DeviceConfig(name="a/b")]
)
def test_device_of_the_configuration_is_checked(device: DeviceConfig) -> None:
    with pytest.raises(ConfigError):
        with_device(PathSettings(), device)


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 1), (3, 1), (4, 2), (6, 3), (8, 4), (64, 4)])
def test_workers_are_one_for_two_processors(
    cores: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    assert worker_count(0) == workers
    assert worker_count(7) == 7


@pytest.mark.parametrize(("said", "count"), [("auto", 0), ("1", 1), (3, 3), ("64", 64)])
def test_number_of_workers_is_read(said: str | int, count: int) -> None:
    settings = with_device(UpSettings(), DeviceConfig(workers=said))
    assert settings.workers == count
    assert (
        with_device(UpSettings(workers=2, said=frozenset({"workers"})), DeviceConfig(workers=said)).workers
        == 2
    )
    exec_settings = ExecSettings(command=("true",))
    assert with_device(exec_settings, DeviceConfig(workers=said)) == exec_settings


@pytest.mark.parametrize("said", ["0", 0, -1, "65", "many", "", "1" * 50])
def test_number_of_workers_that_cannot_be_is_refused(said: str | int) -> None:
    with pytest.raises(ConfigError, match=r"workers: must be 1 to 64, or auto$"):
        with_device(UpSettings(), DeviceConfig(workers=said))
