"""The program that chooses queues: the kernel computes what ``flow.queues`` does."""

import ctypes
import os
import struct

import pytest

from tests.isolation import isolated, needs_namespaces
from tests.unit.flow.test_queues import tcp
from tests.unit.wire.frames import CLIENT, CLIENT6, TARGET, TARGET6, echo_request, parsed, udp
from tunproxy.device.tun import open_queues
from tunproxy.flow.queues import queue_of
from tunproxy.host import libc, queue_choice
from tunproxy.host.queue_choice import program, steer
from tunproxy.wire.vnet import VNET_LEN

BPF_PROG_TEST_RUN = 10  # linux/bpf.h
FAMILIES = [(CLIENT, TARGET), (CLIENT6, TARGET6)]

pytestmark = needs_namespaces


class Kernel:
    """Runs a program as the kernel does with a packet."""

    def __init__(self, queues: int) -> None:
        self.fd = queue_choice._load_program(program(queues))

    def __call__(self, frame: bytes) -> int:
        packet = frame[VNET_LEN:]
        kind = b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00"
        data = ctypes.create_string_buffer(bytes(12) + kind + packet, 14 + len(packet))
        fields = (self.fd, 0, len(data), 0, ctypes.addressof(data), 0, 1, 0)
        attributes = ctypes.create_string_buffer(struct.pack("=IIIIQQII", *fields), 80)
        number = queue_choice._NUMBERS.get(os.uname().machine, queue_choice._GENERIC)
        call = ctypes.CDLL(None, use_errno=True).syscall
        result = call(ctypes.c_long(number), ctypes.c_long(BPF_PROG_TEST_RUN), attributes, ctypes.c_long(80))
        assert result == 0, os.strerror(ctypes.get_errno())
        found: int = struct.unpack_from("=I", attributes, 4)[0]
        return found


@pytest.mark.parametrize("queues", [2, 3, 64])
@pytest.mark.parametrize(("client", "target"), FAMILIES)
def test_kernel_computes_what_workers_compute(queues: int, client: str, target: str) -> None:
    kernel = Kernel(queues)
    frames = [echo_request(b"x", source=client, target=target)]
    for port in (0, 1, 53, 4000, 32_768, 50_001, 65_535):
        for target_port in (53, 443):
            frames.append(udp(b"abc", source=(client, port), target=(target, target_port)))
            frames.append(tcp(client, port, target, target_port))
    for frame in frames:
        assert kernel(frame) == queue_of(frame, parsed(frame), queues)
    os.close(kernel.fd)


@pytest.mark.parametrize(("client", "target"), FAMILIES)
def test_fragments_of_a_packet_meet(client: str, target: str) -> None:
    """The first has the port, the others have something else there."""
    kernel = Kernel(64)
    for port in range(5000, 5010):
        whole = bytearray(udp(b"x" * 100, source=(client, port), target=(target, 53)))
        later = bytearray(udp(b"y" * 100, source=(client, 9 * port), target=(target, 7)))
        if ":" in client:
            whole[VNET_LEN + 6] = later[VNET_LEN + 6] = 44  # next header: a fragment's
        else:
            whole[VNET_LEN + 6], later[VNET_LEN + 7] = 0x20, 9
        assert kernel(bytes(whole)) == kernel(bytes(later))
    os.close(kernel.fd)


def test_packet_that_ends_too_soon_goes_to_the_first() -> None:
    kernel = Kernel(4)
    frame = udp(b"", source=(CLIENT, 5001))
    assert kernel(frame[: VNET_LEN + 21]) == 0
    os.close(kernel.fd)


def test_device_takes_the_program_and_a_kernel_that_refuses_is_named() -> None:
    def check() -> None:
        queues = open_queues("many0", 3)
        assert steer(queues[0].fd, 3) == ""
        reading, writing = os.pipe()
        assert steer(reading, 3).startswith("TUNSETSTEERINGEBPF: ")
        libc.capset(effective=0, permitted=0)
        assert steer(queues[0].fd, 3) == "it takes CAP_BPF"
        for each in queues:
            each.close()
        os.close(reading)
        os.close(writing)

    isolated(check)
