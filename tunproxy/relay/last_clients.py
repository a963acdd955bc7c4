"""A listening socket that lets nobody new in, and loses nobody whom the kernel has let in already.

Between the last ``accept`` and ``close`` a client may come, who would be reset although the kernel has told
it that it is connected; so would one whose handshake is under way. A filter at the socket drops what begins a
handshake (the client's kernel asks again after a second, and is told then that nobody listens) and lets pass
what completes one.
"""

import ctypes
import socket
import struct
from typing import Final

# asm-generic/socket.h
SO_ATTACH_FILTER: Final = 26
SO_DETACH_FILTER: Final = 27

# linux/bpf_common.h, linux/filter.h: operation, where to go if it is true, if it is not, number
_LINE: Final = struct.Struct("HBBI")
_LOAD_OCTET, _AND, _IF_EQUAL, _RETURN = 0x30, 0x54, 0x15, 0x06
_FLAGS_AT: Final = 13  # in the TCP header, with which what a filter sees begins
_SYN, _ACK = 0x02, 0x10
_PROGRAM: Final = b"".join(
    _LINE.pack(*line)
    for line in (
        (_LOAD_OCTET, 0, 0, _FLAGS_AT),
        (_AND, 0, 0, _SYN | _ACK),
        (_IF_EQUAL, 0, 1, _SYN),
        (_RETURN, 0, 0, 0),  # dropped
        (_RETURN, 0, 0, 0xFFFF_FFFF),
    )
)


def let_nobody_begin(sock: socket.socket) -> bool:
    """Have the kernel drop what begins a connection to sock; return whether it does."""
    lines = ctypes.create_string_buffer(_PROGRAM, len(_PROGRAM))
    program = struct.pack("HP", len(_PROGRAM) // _LINE.size, ctypes.addressof(lines))
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
    except OSError:
        return False
    return True


def let_speak(sock: socket.socket) -> None:
    """Take from a connection the filter that it has from its listening socket, if it has."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
    except OSError:  # ENOENT: it was made before
        pass
