"""TUN devices: names and offloads without a kernel, opening with the real one (in namespaces of its own)."""

import os
import subprocess
from collections.abc import Callable
from contextlib import closing

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.device import tun
from tunproxy.device.tun import (
    TUN_F_CSUM,
    TUN_F_TSO4,
    TUN_F_TSO6,
    TUN_F_TSO_ECN,
    TUN_F_USO4,
    TUN_F_USO6,
    Offload,
)
from tunproxy.errors import ConfigError, SystemChangeError

TSO = TUN_F_TSO4 | TUN_F_TSO6
USO = TUN_F_USO4 | TUN_F_USO6


def kernel(supported: int) -> Callable[[int], bool]:
    """Return what TUNSETOFFLOAD does on a kernel with these offloads (set_offload in drivers/net/tun.c)."""

    def accepts(flags: int) -> bool:
        if flags & ~supported or (flags & ~TUN_F_CSUM and not flags & TUN_F_CSUM):
            return False
        if flags & TUN_F_TSO_ECN and not flags & TSO:
            return False
        return flags & USO in (0, USO)

    return accepts


@pytest.mark.parametrize(
    ("supported", "described"),
    [
        (TUN_F_CSUM | TSO | TUN_F_TSO_ECN | USO, "csum tso4 tso6 ecn uso4 uso6"),
        (TUN_F_CSUM | TSO | TUN_F_TSO_ECN, "csum tso4 tso6 ecn"),
        (TUN_F_CSUM | TUN_F_TSO4, "csum tso4"),
        (TUN_F_CSUM, "csum"),
        (0, "none"),
    ],
)
def test_probe_takes_what_the_kernel_has(supported: int, described: str) -> None:
    offload = tun.probe_offload(kernel(supported))
    assert offload.describe() == described
    assert offload.flags == supported


def test_probe_leaves_the_kernel_at_what_it_returns() -> None:
    last_taken = 0

    def accepts(flags: int) -> bool:
        nonlocal last_taken
        if flags & TUN_F_TSO_ECN:
            return False
        last_taken = flags
        return True

    assert tun.probe_offload(accepts).flags == last_taken


@pytest.mark.parametrize("flags", [0, TUN_F_CSUM, TUN_F_CSUM | TUN_F_TSO6 | TUN_F_USO4])
def test_offload_flags_round_trip(flags: int) -> None:
    assert Offload.from_flags(flags).flags == flags


@pytest.mark.parametrize("name", ["", "a" * 16, "ä" * 8, "a/b", "a b", "a:b", ".", "..", "a\n"])
def test_name_impossible_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot use"):
        tun.check_name(name)


@pytest.mark.parametrize("name", ["a", "a" * 15, "tun%d", "tun-0.1"])
def test_name_possible_is_taken(name: str) -> None:
    tun.check_name(name)


@needs_namespaces
def test_open_gives_a_nonblocking_device_that_vanishes_with_its_descriptor() -> None:
    def check() -> None:
        device = tun.open_tun("tun%d")
        assert device.name == "tun0"
        assert os.path.exists("/proc/sys/net/ipv4/conf/tun0")
        assert not os.get_inheritable(device.fd)
        assert not os.get_blocking(device.fd)
        assert device.offload.csum
        device.close()
        device.close()
        assert not os.path.exists("/proc/sys/net/ipv4/conf/tun0")

    isolated(check)


@needs_namespaces
def test_open_name_in_use_is_refused_although_queues_could_be_shared() -> None:
    def check() -> None:
        first = tun.open_tun("tun0")
        with pytest.raises(SystemChangeError, match="'tun0': there is a device of that name"):
            tun.open_tun("tun0")
        first.close()

    isolated(check)


def test_queues_are_of_one_device_and_outlive_each_other() -> None:
    def check() -> None:
        queues = tun.open_queues("many%d", 3)
        assert [queue.name for queue in queues] == ["many0"] * 3
        assert len({queue.offload for queue in queues}) == 1
        queues[0].close()
        assert queues[1].is_there()
        assert not queues[0].is_there()
        with pytest.raises(SystemChangeError, match="there is a device of that name"):
            tun.open_tun("many0")
        queues[1].close()
        queues[2].close()
        tun.open_tun("many0").close()

    isolated(check)


@pytest.mark.needs("ip")
def test_device_of_one_queue_gets_no_other() -> None:
    def check() -> None:
        with closing(tun.open_tun("one0")) as device:
            other = tun._open()
            with pytest.raises(SystemChangeError):
                tun._attach(other, "one0", tun.IFF_MULTI_QUEUE)
            with pytest.raises(SystemChangeError):
                tun._attach(other, "one0", 0)
            os.close(other)
            assert device.is_there()
            subprocess.run(["ip", "link", "delete", "one0"], check=True)
            assert not device.is_there()

    isolated(check)
