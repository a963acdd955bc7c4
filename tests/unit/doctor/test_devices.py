"""What is said of a device, and who has it open."""

import os
from pathlib import Path

import pytest

from tests.isolation import isolated, needs_namespaces
from tests.unit.doctor.looks import DEVICE, device
from tunproxy.device.tun import open_tun
from tunproxy.doctor.devices import (
    Holder,
    choose,
    describe_counts,
    describe_kind,
    find_holders,
    judge_device,
    judge_node,
    read_devices,
)
from tunproxy.doctor.finding import State


def test_device_that_is_read_and_answered_is_fine() -> None:
    [found] = judge_device(DEVICE)
    assert (found.subject, found.state) == ("device tun0", State.FINE)
    assert "open in proxy (12)" in found.evidence


@pytest.mark.parametrize(
    ("fields", "state", "says", "mend"),
    [
        ({"is_up": False}, State.BROKEN, "it is down", "ip link set tun0 up"),
        ({"holders": ()}, State.BROKEN, "no program has it open", "start the program"),
        ({"holders": (), "sees_all": False}, State.UNKNOWN, "cannot be seen", "sudo"),
        ({"written": 0}, State.BROKEN, "no TCP of its own", "TCP stack"),
        ({"read": 0}, State.ODD, "no packet was read: no route", "see routes"),
        (
            {"read": 3, "own": 3, "written": 0},
            State.ODD,
            "no packet was read but the kernel's own",
            "see routes",
        ),
        ({"read": 0, "own": 2, "written": 0}, State.ODD, "or its program reads nothing", "see routes"),
        ({"read": 3, "own": 2, "written": 0}, State.BROKEN, "no TCP of its own", "TCP stack"),
        ({"lost": 3}, State.ODD, "does not read fast enough", "txqueuelen"),
    ],
)
def test_device_that_is_not_is_told_with_what_mends_it(
    fields: dict[str, object], state: State, says: str, mend: str
) -> None:
    [found] = judge_device(device(**fields))  # type: ignore[arg-type]
    assert found.state is state
    assert says in found.says
    assert mend in found.mend


def test_counts_say_which_packets_the_kernel_sends_by_itself() -> None:
    counts = "packets: 7 read by its program, 5 written, 0 found no room"
    assert describe_counts(DEVICE.link) == counts
    told = describe_counts(device(own=2).link)
    assert told == counts.replace("program", "program (2 are the kernel's own, of IPv6)")


def test_device_of_ours_may_say_nothing() -> None:
    [found] = judge_device(device(written=0), is_ours=True)
    assert found.state is State.FINE


def test_kind_says_in_which_form_packets_come() -> None:
    assert describe_kind(DEVICE.link).startswith("TUN (IP packets), mtu 1500, with 10 octets in front")
    assert "TAP (whole Ethernet frames)" in describe_kind(device(is_tap=True).link)
    assert "packet by packet" in describe_kind(device(has_vnet_header=False).link)


def test_choose_takes_the_one_called_so_or_all() -> None:
    assert choose([DEVICE], "") == choose([DEVICE], "tun0") == [DEVICE]
    assert choose([DEVICE], "tun1") == []


def test_node_that_is_missing_or_forbidden_is_told(tmp_path: Path) -> None:
    assert judge_node(tmp_path / "tun").state is State.BROKEN
    node = tmp_path / "tun"
    node.touch()
    assert judge_node(node).state is State.FINE
    if os.geteuid() != 0:
        node.chmod(0)
        assert judge_node(node).state is State.BROKEN


def test_holders_are_unknown_without_proc(tmp_path: Path) -> None:
    assert find_holders(tmp_path / "none") == ({}, False)


@needs_namespaces
def test_holder_is_found_and_gone_when_it_closes() -> None:
    def check() -> None:
        opened = open_tun("held0")
        [found] = read_devices()
        assert [holder.pid for holder in found.holders] == [os.getpid()]
        assert isinstance(found.holders[0], Holder)
        assert found.sees_all
        opened.close()
        assert read_devices() == []

    isolated(check)
