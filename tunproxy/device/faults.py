"""A wrapper that breaks a device on purpose, the same way for the same seed.

Each frame is, with given probabilities, lost, corrupted (one bit of the packet is flipped), delivered
twice, or delivered after the frame that follows it. A frame held back for reordering goes out at the
latest when its direction runs dry, so that none is kept for ever.

A bit flipped under a checksum that is still to be completed would go unnoticed: real wires cannot do
that. So the transport checksum is completed first, as the sender's network card would have done.
Super-packets are not corrupted, because they have no complete checksum at all.
"""

from collections import deque
from dataclasses import dataclass
from random import Random

from tunproxy.device.base import Device
from tunproxy.wire.bits import u16_le
from tunproxy.wire.checksum import checksum
from tunproxy.wire.vnet import GSO_NONE, NEEDS_CSUM, PLAIN, VNET_LEN, gso_type


@dataclass(frozen=True)
class Faults:
    """Probabilities, from 0 to 1, of what happens to a frame of one direction."""

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0


class FaultDevice(Device):
    """Passes frames through with faults; every random decision comes from rng."""

    def __init__(self, inner: Device, rng: Random, *, inbound: Faults, outbound: Faults) -> None:
        super().__init__(inner.fd)
        self._inner = inner
        self._inbound = _Breaker(rng, inbound)
        self._outbound = _Breaker(rng, outbound)
        self._waiting: deque[bytes] = deque()

    def read(self) -> bytes | None:
        while not self._waiting:
            frame = self._inner.read()
            if frame is None:
                return self._inbound.take_held()
            self._waiting.extend(self._inbound.pass_frame(frame))
        return self._waiting.popleft()

    def write(self, frame: bytes) -> None:
        for survivor in self._outbound.pass_frame(frame):
            self._inner.write(survivor)

    def write_parts(self, header: bytes, parts: list[bytes | memoryview]) -> None:
        self.write(b"".join([header, *parts]))

    def flush(self) -> None:
        """Send the outbound frame that is held back, if there is one."""
        held = self._outbound.take_held()
        if held is not None:
            self._inner.write(held)


class _Breaker:
    """The faults of one direction."""

    def __init__(self, rng: Random, faults: Faults) -> None:
        self._rng = rng
        self._faults = faults
        self._held: bytes | None = None

    def pass_frame(self, frame: bytes) -> list[bytes]:
        """Return what arrives when frame is sent: nothing, it, or several frames in order."""
        chance, faults = self._rng.random, self._faults
        # One draw for each kind of fault, always: whether a frame is hit by one kind then does not
        # depend on the probability of another, and runs with other probabilities stay comparable.
        lost, corrupted = chance() < faults.loss, chance() < faults.corrupt
        doubled, late = chance() < faults.duplicate, chance() < faults.reorder
        if lost:
            return []
        if corrupted:
            frame = corrupt(frame, self._rng)
        copies = [frame, frame] if doubled else [frame]
        if late and self._held is None:
            self._held = frame
            return copies[1:]
        held = self.take_held()
        return copies if held is None else [*copies, held]

    def take_held(self) -> bytes | None:
        """Return the frame that was held back, if there is one, and forget it."""
        held, self._held = self._held, None
        return held


def corrupt(frame: bytes, rng: Random) -> bytes:
    """Return frame with one bit of its packet flipped; a super-packet is returned as it is."""
    if gso_type(frame) != GSO_NONE or len(frame) <= VNET_LEN:
        return frame
    packet = bytearray(complete_checksum(frame)[VNET_LEN:])
    bit = rng.randrange(len(packet) * 8)
    packet[bit // 8] ^= 1 << (bit % 8)
    return PLAIN + bytes(packet)


def complete_checksum(frame: bytes) -> bytes:
    """Return frame with its transport checksum completed and nothing left to be done by an offload."""
    packet = frame[VNET_LEN:]
    if not frame[0] & NEEDS_CSUM:
        return PLAIN + packet
    start, offset = u16_le(frame, 6), u16_le(frame, 8)
    total = checksum(packet, start, len(packet), 0) ^ 0xFFFF
    word = int(total or 0xFFFF).to_bytes(2, "big")  # a UDP checksum of zero would mean "none" (RFC 768)
    return PLAIN + packet[: start + offset] + word + packet[start + offset + 2 :]
