"""Has the kernel give each packet to the queue of a TUN device that it belongs to (``flow.queues``).

A small program in the kernel's own machine language, made here by hand, computes the queue: an eBPF socket
filter (Linux Documentation/bpf/standardization/instruction-set.rst) that TUNSETSTEERINGEBPF takes from Linux
4.16 on. Loading it takes CAP_BPF, or CAP_SYS_ADMIN before 5.8. Without it, the kernel spreads flows by a
hash of its own: a TCP flow stays with one queue, but a UDP port has as many queues as it has targets.

    r6 the packet, where the kernel's loads expect it    r7 what is mixed
    r8 the protocol                                      r9 where the ports are
"""

import ctypes
import errno
import fcntl
import os
import platform
import struct
from typing import Final

from tunproxy.flow.queues import DNS_PORT, SPREAD
from tunproxy.wire.ip import TCP, UDP

TUNSETSTEERINGEBPF: Final = 0x800454E0  # linux/if_tun.h

# linux/bpf.h
BPF_PROG_LOAD: Final = 5
BPF_PROG_TYPE_SOCKET_FILTER: Final = 1
ATTRIBUTES_LEN: Final = 48  # of the first of them, those of Linux 4.9; the rest is zero

# asm/unistd.h: the generic table has 280
_NUMBERS: Final = {"x86_64": 321, "i686": 357, "armv7l": 386, "armv6l": 386, "ppc64le": 361, "s390x": 351}
_GENERIC: Final = 280

# one octet each: the instruction's class, how wide or with what, and what
_LOAD_ABSOLUTE: Final = 0x20  # BPF_LD | BPF_ABS, and the width
_LOAD_INDIRECT: Final = 0x40
_WORD, _HALF, _BYTE = 0x00, 0x08, 0x10
_MOVE, _MOVE_REGISTER = 0xB7, 0xBF
_AND, _SHIFT_LEFT, _SHIFT_RIGHT = 0x57, 0x67, 0x77
_MULTIPLY_32, _MULTIPLY, _ADD_REGISTER_32, _XOR_REGISTER = 0x24, 0x27, 0x0C, 0xAF
_MOVE_32 = 0xB4
_MULTIPLY_REGISTER_32 = 0x2C
_GOTO, _IF_EQUAL, _IF_NOT_EQUAL = 0x05, 0x15, 0x55
_EXIT: Final = 0x95

_Line = tuple[int, int, int, int | str, int]  # operation, to, from, where to go, number


def program(queues: int) -> bytes:
    """Return the program for so many queues, as the kernel takes it: eight octets an instruction."""
    lines: list[_Line | str] = [
        (_MOVE_REGISTER, 6, 1, 0, 0),
        *_load(_BYTE, 0),
        (_SHIFT_RIGHT, 0, 0, 0, 4),
        (_IF_EQUAL, 0, 0, "ipv6", 6),
        # IPv4 (RFC 791 §3.1)
        *_load(_WORD, 12),
        (_MOVE_REGISTER, 7, 0, 0, 0),
        *_load(_HALF, 6),
        (_AND, 0, 0, 0, 0x3FFF),  # more fragments, or an offset
        (_IF_NOT_EQUAL, 0, 0, "spread", 0),
        *_load(_BYTE, 9),
        (_MOVE_REGISTER, 8, 0, 0, 0),
        *_load(_BYTE, 0),
        (_AND, 0, 0, 0, 0xF),
        (_SHIFT_LEFT, 0, 0, 0, 2),
        (_MOVE_REGISTER, 9, 0, 0, 0),
        (_GOTO, 0, 0, "ports", 0),
        "ipv6",  # RFC 8200 §3
        *_load(_WORD, 8),
        (_MOVE_REGISTER, 7, 0, 0, 0),
    ]
    for at in (12, 16, 20):
        lines += [*_load(_WORD, at), (_XOR_REGISTER, 7, 0, 0, 0)]
    lines += [
        *_load(_BYTE, 6),
        (_MOVE_REGISTER, 8, 0, 0, 0),
        (_MOVE, 9, 0, 0, 40),
        "ports",
        (_IF_EQUAL, 8, 0, "has ports", int(TCP)),
        (_IF_NOT_EQUAL, 8, 0, "spread", int(UDP)),
        "has ports",
        (_LOAD_INDIRECT | _HALF, 0, 9, 0, 2),
        (_IF_EQUAL, 0, 0, "first", int(DNS_PORT)),
        (_LOAD_INDIRECT | _HALF, 0, 9, 0, 0),
        (_ADD_REGISTER_32, 7, 0, 0, 0),
        "spread",
        (_MOVE_32, 1, 0, 0, int(SPREAD)),
        (_MULTIPLY_REGISTER_32, 7, 1, 0, 0),
        (_MOVE_REGISTER, 0, 7, 0, 0),
        (_MULTIPLY, 0, 0, 0, queues),
        (_SHIFT_RIGHT, 0, 0, 0, 32),
        (_EXIT, 0, 0, 0, 0),
        "first",
        (_MOVE, 0, 0, 0, 0),
        (_EXIT, 0, 0, 0, 0),
    ]
    return _assembled(lines)


def steer(fd: int, queues: int) -> str:
    """Have the kernel choose among the queues of the device of which fd is one; return "", or why not."""
    try:
        loaded = _load_program(program(queues))
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            return "it takes CAP_BPF"
        if error.errno == errno.ENOSYS:
            return "this kernel has no bpf()"
        return f"bpf(): {(error.strerror or str(error)).lower()}"
    try:
        fcntl.ioctl(fd, TUNSETSTEERINGEBPF, struct.pack("i", loaded))
    except OSError as error:
        return f"TUNSETSTEERINGEBPF: {(error.strerror or str(error)).lower()}"
    finally:
        os.close(loaded)  # the device keeps it
    return ""


def _load(width: int, at: int) -> list[_Line | str]:
    """Return what loads so many octets of the packet into r0, in the host's order; beyond its end we end."""
    return [(_LOAD_ABSOLUTE | width, 0, 0, 0, at)]


def _assembled(lines: list[_Line | str]) -> bytes:
    places: dict[str, int] = {}
    instructions: list[_Line] = []
    for line in lines:
        if isinstance(line, str):
            places[line] = len(instructions)
        else:
            instructions.append(line)
    found = b""
    for number, (operation, to, of, where, value) in enumerate(instructions):
        jump = places[where] - number - 1 if isinstance(where, str) else where
        registers = of << 4 | to if struct.pack("=H", 1)[0] else to << 4 | of
        found += struct.pack("=BBhI", operation, registers, jump, value)
    return found


def _load_program(code: bytes) -> int:
    """Return a descriptor of a program that the kernel has checked. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    instructions = ctypes.create_string_buffer(code, len(code))
    name = ctypes.create_string_buffer(b"MIT")
    head = struct.pack(
        "=IIQQ",
        BPF_PROG_TYPE_SOCKET_FILTER,
        len(code) // 8,
        ctypes.addressof(instructions),
        ctypes.addressof(name),
    )
    attributes = ctypes.create_string_buffer(head, ATTRIBUTES_LEN)
    number = _NUMBERS.get(platform.machine(), _GENERIC)
    loaded: int = libc.syscall(
        ctypes.c_long(number), ctypes.c_long(BPF_PROG_LOAD), attributes, ctypes.c_long(ATTRIBUTES_LEN)
    )
    if loaded < 0:
        code_ = ctypes.get_errno()
        raise OSError(code_, os.strerror(code_))
    os.set_inheritable(loaded, False)
    return loaded
