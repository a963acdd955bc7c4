"""Echo requests are answered by who was asked, and by nobody else."""

import re
import socket
import struct
import subprocess
import time

import pytest

from tests.system.lab import Family, Lab
from tests.system.namespace import Namespace
from tests.system.peers import block

pytestmark = [pytest.mark.timeout(60), pytest.mark.leaks_checked_per_module]

ECHO_REQUEST = {socket.AF_INET: 8, socket.AF_INET6: 128}
ECHO_REPLY = {socket.AF_INET: 0, socket.AF_INET6: 129}


@pytest.mark.needs("ping")
@pytest.mark.parametrize("size", [0, 56, 1472, 1473, 8000])
def test_ping_reachable_host_answers(lab: Lab, family: Family, size: int) -> None:
    done = ping(lab, family, 5, "-i", "0.02", "-s", str(size))
    assert (done.returncode, answered(done.stdout)) == (0, [1, 2, 3, 4, 5]), done.stdout + done.stderr
    assert not re.search(r"DUP!|wrong|error", done.stdout), done.stdout


@pytest.mark.needs("ping")
@pytest.mark.parametrize("which", ["silent", "no_host", "no_net"])
def test_ping_unreachable_host_does_not_look_alive(lab: Lab, family: Family, which: str) -> None:
    target = getattr(family, which)
    done = lab.client.run("ping", "-n", "-c", "2", "-i", "0.1", "-W", "1", target)
    assert done.returncode != 0, done.stdout
    assert "bytes from" not in done.stdout


@pytest.mark.needs("ping")
def test_ping_rapid_requests_are_all_answered(lab: Lab, family: Family) -> None:
    done = ping(lab, family, 300, "-i", "0.002")
    assert (done.returncode, answered(done.stdout)) == (0, [*range(1, 301)]), done.stdout + done.stderr


def test_echo_of_many_askers_reaches_the_right_one(lab: Lab, family: Family) -> None:
    """Forty sockets, three targets, several requests each, all interleaved."""
    askers = [echo_socket(lab.client, family) for _ in range(40)]
    try:
        for sequence in range(5):
            for number, asker in enumerate(askers):
                request = struct.pack("!BBHHH", ECHO_REQUEST[family.af], 0, 0, 0, sequence) + token(
                    number, sequence
                )
                asker.sendto(request, (family.hosts[number % 3], 0))
        for number, asker in enumerate(askers):
            for sequence in range(5):
                data, source = asker.recvfrom(1000)
                assert source[0] == family.hosts[number % 3]
                kind, _, _, _, answered = struct.unpack_from("!BBHHH", data)
                assert (kind, answered, data[8:]) == (
                    ECHO_REPLY[family.af],
                    sequence,
                    token(number, sequence),
                )
    finally:
        for asker in askers:
            asker.close()


def test_echo_after_a_long_pause_is_answered(lab: Lab, family: Family) -> None:
    with echo_socket(lab.client, family) as asker:
        for sequence in (1, 2):
            asker.sendto(struct.pack("!BBHHH", ECHO_REQUEST[family.af], 0, 0, 0, sequence), (family.host, 0))
            assert struct.unpack_from("!6xH", asker.recv(100))[0] == sequence
            time.sleep(3.5 if sequence == 1 else 0)


def ping(lab: Lab, family: Family, count: int, *options: str) -> "subprocess.CompletedProcess[str]":
    """Have ping wait for so many answers. Without -w it waits for the last no longer than for the others."""
    return lab.client.run("ping", "-n", "-c", str(count), "-w", "20", *options, family.host)


def answered(output: str) -> list[int]:
    """Return the numbers of the requests that were answered; of those that come after, none need be."""
    return sorted(map(int, re.findall(r"bytes from .*icmp_seq=(\d+)", output)))


def echo_socket(namespace: Namespace, family: Family) -> socket.socket:
    proto = socket.IPPROTO_ICMP if family.af == socket.AF_INET else socket.IPPROTO_ICMPV6
    return namespace.make_socket(family.af, socket.SOCK_DGRAM, proto)


def token(number: int, sequence: int) -> bytes:
    at = number * 10 + sequence
    return block()[at : at + 64]
