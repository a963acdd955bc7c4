"""Flows whose address is not ours any more, between real sockets."""

import socket
import subprocess

import pytest

from tests.isolation import isolated, needs_namespaces
from tests.unit.flow.rig import Client, FakeOpener, Rig, connected, how_it_ended, listening
from tunproxy.flow.leaving import has_no_way
from tunproxy.flow.static_decider import StaticDecider
from tunproxy.flow.verdict import OPEN, Verdict
from tunproxy.wire.tcp import ACK


def here(address: str) -> bool:
    return True


def gone(address: str) -> bool:
    assert address == "127.0.0.1"
    return False


def test_socket_without_an_address_has_a_way_and_one_of_another_kind_too() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert not has_no_way(sock, gone)
        sock.connect(("127.0.0.1", 9))
        assert has_no_way(sock, gone)
        assert not has_no_way(sock, here)
    assert has_no_way(sock, here), "a closed one"
    for each in socket.socketpair():
        with each:
            assert not has_no_way(each, gone)


def test_flow_is_reset_on_both_sides_where_its_address_is_gone() -> None:
    with connected() as (rig, client, target):
        assert rig.table.cut_off(here) == 0
        assert len(rig.table) == 1
        assert rig.table.cut_off(gone) == 1
        assert len(rig.table) == 0
        assert how_it_ended(rig, target) == "reset"
        rig.run()
        assert client.received[-1].names == "RST ACK"
        assert rig.table.cut_off(gone) == 0


def test_flow_that_waits_for_its_target_is_forgotten_so_that_its_client_asks_again() -> None:
    with listening() as (rig, _):
        client = Client(rig)
        client.syn()
        assert rig.table.cut_off(here) == 0
        assert rig.table.cut_off(gone) == 1
        assert (client.received, len(rig.table)) == ([], 0)
        client.seq -= 1
        client.syn()
        rig.until(lambda: client.received)
        assert client.received[0].names == "SYN ACK"
        client.says(ACK)
        assert len(rig.table) == 1


def test_flow_that_somebody_opens_is_forgotten_and_he_is_told() -> None:
    opener = FakeOpener()
    rig = Rig(decider=StaticDecider(Verdict(OPEN, "proxy")), opener=opener)
    client = Client(rig)
    client.syn()
    assert len(opener.asked) == 1
    assert rig.table.cut_off(here) == 1
    assert (client.received, len(rig.table)) == ([], 0)
    assert opener.cancelled == [each.request for each in opener.asked]
    rig.close()


@needs_namespaces
@pytest.mark.needs("ip")
def test_socket_bound_to_an_interface_that_is_gone_has_no_way_whatever_has_its_name_now() -> None:
    def check() -> None:
        def make() -> None:
            for line in ("link add e0 type veth peer name e1", "link set e0 up"):
                subprocess.run(["ip", *line.split()], check=True, timeout=10)

        make()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"e0")
            assert not has_no_way(sock, gone)
            subprocess.run(["ip", "link", "del", "e0"], check=True, timeout=10)
            assert has_no_way(sock, here)
            make()
            assert has_no_way(sock, here)

    isolated(check)
