"""The wrapper that breaks a device: what it does at each extreme, and that a seed decides it all."""

from random import Random

import dpkt
import pytest

from tunproxy.device.faults import FaultDevice, Faults, complete_checksum, corrupt
from tunproxy.device.memory import MemoryDevice
from tunproxy.wire.vnet import GSO_TCPV4, NEEDS_CSUM, PLAIN

NONE = Faults()
FRAMES = [PLAIN + b"E%03d" % number for number in range(200)]


def broken(
    inbound: Faults = NONE, outbound: Faults = NONE, seed: int = 1
) -> tuple[MemoryDevice, FaultDevice]:
    inner = MemoryDevice()
    return inner, FaultDevice(inner, Random(seed), inbound=inbound, outbound=outbound)


def read_all(inner: MemoryDevice, device: FaultDevice, frames: list[bytes]) -> list[bytes]:
    inner.inbound.extend(frames)
    return list(iter(device.read, None))


def write_all(inner: MemoryDevice, device: FaultDevice, frames: list[bytes]) -> list[bytes]:
    for frame in frames:
        device.write_parts(frame[:10], [frame[10:]])
    device.flush()
    return list(inner.outbound)


PASS = [
    pytest.param(lambda faults, seed=1: read_all(*broken(inbound=faults, seed=seed), FRAMES), id="inbound"),
    pytest.param(
        lambda faults, seed=1: write_all(*broken(outbound=faults, seed=seed), FRAMES), id="outbound"
    ),
]


@pytest.mark.parametrize("passed", PASS)
def test_no_faults_pass_everything(passed) -> None:
    assert passed(NONE) == FRAMES


@pytest.mark.parametrize("passed", PASS)
def test_certain_loss_passes_nothing(passed) -> None:
    assert passed(Faults(loss=1)) == []


@pytest.mark.parametrize("passed", PASS)
def test_certain_duplication_passes_each_twice(passed) -> None:
    assert passed(Faults(duplicate=1)) == [frame for frame in FRAMES for _ in range(2)]


@pytest.mark.parametrize("passed", PASS)
def test_reordering_swaps_neighbours_and_loses_nothing(passed) -> None:
    result = passed(Faults(reorder=0.3))
    assert sorted(result) == FRAMES
    assert result != FRAMES
    assert all(abs(result.index(frame) - number) <= 1 for number, frame in enumerate(FRAMES))


@pytest.mark.parametrize("passed", PASS)
def test_corruption_flips_one_bit_of_each_packet(passed) -> None:
    for frame, result in zip(FRAMES, passed(Faults(corrupt=1)), strict=True):
        assert result[:10] == PLAIN
        flipped = int.from_bytes(frame, "big") ^ int.from_bytes(result, "big")
        assert flipped.bit_count() == 1


@pytest.mark.parametrize("passed", PASS)
def test_same_seed_same_faults_other_seed_other_faults(passed) -> None:
    faults = Faults(loss=0.1, duplicate=0.1, reorder=0.1, corrupt=0.1)
    assert passed(faults, seed=5) == passed(faults, seed=5) != passed(faults, seed=6)


def test_loss_does_not_depend_on_other_probabilities() -> None:
    lost = [set(FRAMES) - set(PASS[0].values[0](Faults(loss=0.2, duplicate=more))) for more in (0, 0.5)]
    assert lost[0] == lost[1]


def test_last_frame_held_back_is_read_before_none() -> None:
    inner, device = broken(inbound=Faults(reorder=1))
    inner.inbound.append(FRAMES[0])
    assert [device.read(), device.read()] == [FRAMES[0], None]


def test_super_packet_is_not_corrupted() -> None:
    frame = bytes([NEEDS_CSUM, GSO_TCPV4]) + bytes(8) + b"E" * 3000
    assert corrupt(frame, Random(1)) == frame


def test_partial_checksum_is_completed_as_a_network_card_would() -> None:
    packet = dpkt.ip.IP(
        src=b"\x0a\0\0\1", dst=b"\x0a\0\0\2", p=17, data=dpkt.udp.UDP(sport=1, dport=2, data=b"odd")
    )
    packet.data.ulen = len(packet.data)
    whole = bytes(packet)  # dpkt fills in the checksums
    pseudo = sum(int.from_bytes(whole[at : at + 2], "big") for at in range(12, 20, 2)) + 17 + packet.data.ulen
    pseudo = (pseudo & 0xFFFF) + (pseudo >> 16)
    partial = whole[:26] + pseudo.to_bytes(2, "big") + whole[28:]
    header = bytes([NEEDS_CSUM, 0]) + bytes(4) + (20).to_bytes(2, "little") + (6).to_bytes(2, "little")
    assert complete_checksum(header + partial) == PLAIN + whole
