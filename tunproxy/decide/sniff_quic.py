"""The server name in a QUIC client's Initial packets (RFC 9000 §17.2.2, RFC 9001 §5, RFC 9369).

Initial packets are encrypted with keys that follow from the connection's number, which everybody on the
way can read: against mistakes, not against eyes. A ClientHello may be spread over several packets, in any
order.
"""

import struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from tunproxy.decide.sniff_tls import server_name_in_hello

# version: its salt, the number of its Initial packets, and how its labels begin
_VERSIONS: Final = {
    1: (bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"), 0, b"quic "),
    0x6B3343CF: (bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"), 1, b"quicv2 "),
}
_MIN_DATAGRAM: Final = 1200  # RFC 9000 §14.1: shorter ones carry no Initial packet

# our choices
MAX_DATAGRAMS: Final = 8  # that may go by before we give up
MAX_HELLO: Final = 16_384


def is_quic_initial(datagram: bytes) -> bool:
    """Tell whether datagram begins with a client's Initial packet of a version that we know."""
    if len(datagram) < _MIN_DATAGRAM or datagram[0] & 0xC0 != 0xC0:
        return False
    version = _VERSIONS.get(int.from_bytes(datagram[1:5], "big"))
    return version is not None and (datagram[0] >> 4) & 3 == version[1]


class QuicReader:
    """Reads the ClientHello of one connection, whose first datagram is handed in."""

    def __init__(self, first: bytes) -> None:
        self._version: Final = int.from_bytes(first[1:5], "big")
        salt, self._kind, label = _VERSIONS[self._version]
        number = first[6 : 6 + first[5]]
        initial = _hmac(salt, number)
        secret = _expand(initial, b"client in", 32)
        self._aead: Final = AESGCM(_expand(secret, label + b"key", 16))
        self._iv: Final = _expand(secret, label + b"iv", 12)
        self._mask: Final = Cipher(AES(_expand(secret, label + b"hp", 16)), ECB()).encryptor()
        self._pieces: Final[dict[int, bytes]] = {}
        self._datagrams = 0

    def read(self, datagram: bytes) -> str | None:
        """Take a datagram; return the name: "" for none, None if more datagrams are needed."""
        self._datagrams += 1
        at = 0
        try:
            while len(datagram) - at > 7 and datagram[at] & 0xC0 == 0xC0:
                at = self._packet(datagram, at)
        except (IndexError, struct.error, InvalidTag, ValueError):
            pass  # broken, or not the client's; what was understood counts
        hello = self._hello()
        found = server_name_in_hello(hello) if hello else None
        if found is None and (self._datagrams >= MAX_DATAGRAMS or len(hello) >= MAX_HELLO):
            return ""
        return found

    def _hello(self) -> bytes:
        """Return the ClientHello as far as it is there without a gap; pieces may overlap."""
        hello = b""
        for offset in sorted(self._pieces):
            if offset > len(hello) or len(hello) >= MAX_HELLO:
                break
            hello += self._pieces[offset][len(hello) - offset :]
        return hello

    def _packet(self, data: bytes, start: int) -> int:
        """Take the long-header packet at start; return where the next one begins."""
        if int.from_bytes(data[start + 1 : start + 5], "big") != self._version:
            raise ValueError("another version")
        at = start + 5
        at += 1 + data[at]  # destination
        at += 1 + data[at]  # source
        is_initial = (data[start] >> 4) & 3 == self._kind
        if is_initial:
            size, at = _varint(data, at)  # token
            at += size
        length, at = _varint(data, at)
        end = at + length
        if end > len(data):
            raise ValueError("longer than its datagram")
        if is_initial:
            self._frames(self._decrypt(data, start, at, end))
        return end

    def _decrypt(self, data: bytes, start: int, number_at: int, end: int) -> bytes:
        """Return the payload of a packet (RFC 9001 §5.3, §5.4); raises InvalidTag."""
        sample = data[number_at + 4 : number_at + 20]
        if len(sample) < 16:
            raise ValueError("too short to have a header protected")
        mask = self._mask.update(sample)
        first = data[start] ^ (mask[0] & 0x0F)
        size = (first & 3) + 1
        number = bytes(a ^ b for a, b in zip(data[number_at : number_at + size], mask[1:], strict=False))
        header = bytes((first,)) + data[start + 1 : number_at] + number
        nonce = bytes(a ^ b for a, b in zip(self._iv, number.rjust(12, b"\0"), strict=True))
        return self._aead.decrypt(nonce, data[number_at + size : end], header)

    def _frames(self, payload: bytes) -> None:
        """Keep what CRYPTO frames carry (RFC 9000 §19.6); others of an Initial packet are skipped."""
        at = 0
        while at < len(payload):
            kind = payload[at]
            at += 1
            if kind in (0, 1):  # PADDING, PING
                continue
            if kind in (2, 3):  # ACK
                for _ in range(2):
                    _, at = _varint(payload, at)
                count, at = _varint(payload, at)
                for _ in range(1 + 2 * count + (3 if kind == 3 else 0)):
                    _, at = _varint(payload, at)
                continue
            if kind != 6:
                return  # CONNECTION_CLOSE, or nonsense
            offset, at = _varint(payload, at)
            size, at = _varint(payload, at)
            if offset < MAX_HELLO and len(self._pieces) < 64:
                self._pieces[offset] = payload[at : at + size]
            at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of variable length (RFC 9000 §16) and what lies behind it; raises IndexError."""
    size = 1 << (data[at] >> 6)
    if at + size > len(data):
        raise IndexError("cut off")
    value = int.from_bytes(data[at : at + size], "big") & ((1 << (8 * size - 2)) - 1)
    return value, at + size


def _hmac(key: bytes, data: bytes) -> bytes:
    mac = HMAC(key, SHA256())
    mac.update(data)
    return mac.finalize()


def _expand(secret: bytes, label: bytes, size: int) -> bytes:
    """HKDF-Expand-Label (RFC 8446 §7.1)."""
    label = b"tls13 " + label
    info = struct.pack("!HB", size, len(label)) + label + b"\0"
    return HKDFExpand(SHA256(), size, info).derive(secret)
