"""Reads many datagrams with one system call (recvmmsg), with their senders and what GRO joined.

Python's own recvmsg costs twice what the kernel needs for a datagram, and an exception tells it that there
are no more. recvmmsg is called through ctypes: 1.4 µs for the call, a few tenths for each datagram, and the
end is a number. The kernel fills one table that is laid out once:

    headers     one struct mmsghdr per slot
    extras      one name and one control area per slot: who sent it; the size of the pieces that GRO joined
    vectors     one struct iovec per slot, pointing into ``data``
    data        one slot per datagram, pages of which exist only where datagrams were that large

One receiver serves every socket of a table: what a call returned is used before the next call.
"""

import ctypes
import mmap
import socket
import struct
from typing import Final, final

from librt.strings import read_i16_le, read_i32_le, read_i64_le
from mypy_extensions import i64, mypyc_attr

MAX_DATAGRAM: Final[i64] = 65536  # octets of a slot; no UDP payload is larger, joined or not

# struct mmsghdr: msg_name, _namelen, _iov, _iovlen, _control, _controllen, _flags; msg_len
_MMSGHDR: Final = "@PIPNPNi0PI0P"
_HEADER_LEN: Final[i64] = struct.calcsize(_MMSGHDR)
_CONTROL_LEN_OFF: Final[i64] = struct.calcsize("@PIPNP0N")
_MSG_LEN_OFF: Final[i64] = struct.calcsize("@PIPNPNi0P")
_NAME_LEN: Final[i64] = 32  # a sockaddr_in6 has 28
_CONTROL_LEN: Final[i64] = 64
_EXTRA_LEN: Final[i64] = _NAME_LEN + _CONTROL_LEN
_CMSG_LEVEL_OFF: Final[i64] = struct.calcsize("@N")  # struct cmsghdr: cmsg_len, cmsg_level, cmsg_type
_CMSG_DATA_OFF: Final[i64] = struct.calcsize("@Nii0N")
_INET6: Final[i64] = int(socket.AF_INET6)
_SOL_UDP: Final[i64] = 17
_UDP_GRO: Final[i64] = 104  # linux/udp.h

# our choices
SLOTS: Final[i64] = 64  # one wake-up's share; as many as one UDP_SEGMENT send may hold
_STRIDE: Final[i64] = MAX_DATAGRAM + 1344  # not a power of two, so that slots do not share cache sets


@final
@mypyc_attr(native_class=True)
class Receiver:
    """Room for the datagrams of one recvmmsg; index runs from 0 to what receive returned."""

    def __init__(self) -> None:
        self._data: Final = memoryview(mmap.mmap(-1, int(SLOTS * _STRIDE)))
        self._headers: Final = memoryview(bytearray(int(SLOTS * _HEADER_LEN)))
        self._extras: Final = memoryview(bytearray(int(SLOTS * _EXTRA_LEN)))
        self._vectors: Final = bytearray(int(SLOTS) * struct.calcsize("@PN"))
        self._blank: Final = self._lay_out()
        self._table: Final = ctypes.c_void_p(_address_of(self._headers))
        self._recvmmsg: Final = ctypes.PyDLL(None).recvmmsg  # keeps the GIL, as nothing here blocks
        self._recvmmsg.argtypes = [
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_void_p,
        ]
        self._filled_headers: bytes = b""
        self._filled_extras: bytes = b""

    def _lay_out(self) -> bytes:
        """Point every slot at its memory; return the headers as each call must find them."""
        data = _address_of(self._data)
        extras = _address_of(self._extras)
        vectors = _address_of(memoryview(self._vectors))
        vector_len = struct.calcsize("@PN")
        blank = bytearray(int(SLOTS * _HEADER_LEN))
        for slot in range(int(SLOTS)):
            struct.pack_into(
                "@PN", self._vectors, slot * vector_len, data + slot * int(_STRIDE), int(MAX_DATAGRAM)
            )
            name = extras + slot * int(_EXTRA_LEN)
            struct.pack_into(
                _MMSGHDR,
                blank,
                slot * int(_HEADER_LEN),
                name,
                int(_NAME_LEN),
                vectors + slot * vector_len,
                1,
                name + int(_NAME_LEN),
                int(_CONTROL_LEN),
                0,
                0,
            )
        return bytes(blank)

    def receive(self, fd: int, limit: i64) -> i64:
        """Read up to limit datagrams, SLOTS at most, from a non-blocking socket; return how many came.

        -1 stands for none and for a pending error, which the socket's error queue tells about.
        """
        self._headers[:] = self._blank  # the kernel writes lengths into them
        count = i64(self._recvmmsg(fd, self._table, limit, 0, None))
        if count > 0:
            self._filled_headers = bytes(self._headers[: count * _HEADER_LEN])
            self._filled_extras = bytes(self._extras[: count * _EXTRA_LEN])
        return count

    def length(self, index: i64) -> i64:
        """Return the octets of payload of datagram index."""
        return i64(read_i32_le(self._filled_headers, index * _HEADER_LEN + _MSG_LEN_OFF))

    def name(self, index: i64) -> bytes:
        """Return who sent datagram index, as ``sockaddr.name_of`` writes addresses."""
        at = index * _EXTRA_LEN
        if i64(read_i16_le(self._filled_extras, at)) == _INET6:
            return self._filled_extras[at : at + 28]
        return self._filled_extras[at : at + 8]

    def is_from_same(self, index: i64, other: i64) -> bool:
        """Tell whether datagrams index and other have the same sender."""
        extras = self._filled_extras
        at = index * _EXTRA_LEN
        to = other * _EXTRA_LEN
        if read_i64_le(extras, at) != read_i64_le(extras, to):  # family, port, and an IPv4 address
            return False
        if i64(read_i16_le(extras, at)) != _INET6:
            return True
        return (
            read_i64_le(extras, at + 8) == read_i64_le(extras, to + 8)
            and read_i64_le(extras, at + 16) == read_i64_le(extras, to + 16)
            and read_i32_le(extras, at + 24) == read_i32_le(extras, to + 24)
        )

    def segment(self, index: i64) -> i64:
        """Return the size of the datagrams that the kernel joined into datagram index, 0 if it is one."""
        if i64(read_i32_le(self._filled_headers, index * _HEADER_LEN + _CONTROL_LEN_OFF)) == 0:
            return 0
        at = index * _EXTRA_LEN + _NAME_LEN
        extras = self._filled_extras
        if (
            i64(read_i32_le(extras, at + _CMSG_LEVEL_OFF)) == _SOL_UDP
            and i64(read_i32_le(extras, at + _CMSG_LEVEL_OFF + 4)) == _UDP_GRO
        ):
            return i64(read_i32_le(extras, at + _CMSG_DATA_OFF))
        return 0

    def payload(self, index: i64, start: i64, end: i64) -> memoryview:
        """Return octets start to end of datagram index; they stay only until the next call of receive."""
        at = index * _STRIDE
        return self._data[at + start : at + end]


def _address_of(buffer: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))
