"""Programs told apart by their control groups: the kernel marks the sockets that they open.

An eBPF program on a group sets one bit of the mark of each socket that is made in the group or below. So the
mark is there before the first packet is routed; nftables sees packets only when route and source address have
been chosen, which would have to be mended by translating addresses. Sockets that were open before are not
marked.

The programs are loaded through libbpf, which iproute2 uses as well. Each is held by a descriptor of ours:
when that closes, because we end by whatever signal, the kernel takes the program from the group. Needs Linux
5.7, the second version of control groups, and CAP_BPF, or CAP_SYS_ADMIN.
"""

import contextlib
import ctypes
import errno
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tunproxy.errors import SystemChangeError
from tunproxy.host import libc

LIBRARY: Final = "libbpf.so.1"

# our choices: bits of a mark that nobody whom we know of uses
EXCLUDED: Final = 0x1000_0000
INCLUDED: Final = 0x2000_0000

# linux/bpf.h
_CGROUP_SOCK: Final = 9  # BPF_PROG_TYPE_CGROUP_SOCK
_SOCK_CREATE: Final = 2  # BPF_CGROUP_INET_SOCK_CREATE
_MARK: Final = 16  # offsetof(struct bpf_sock, mark)
_LDX_W, _STX_W, _OR_K, _MOV_K, _EXIT = 0x61, 0x63, 0x47, 0xB7, 0x95
_INSTRUCTION: Final = struct.Struct("=BBhi")  # struct bpf_insn: code, registers (src << 4 | dst), off, imm


class GroupMarks:
    """Marks the sockets of control groups for as long as it is open."""

    def __init__(self, groups: Mapping[str, int], root: Path | None = None) -> None:
        """groups are paths below the hierarchy's root, with the bit of each. Raises SystemChangeError."""
        self._held: Final[list[int]] = []
        where = hierarchy() if root is None else root
        if where is None:
            raise SystemChangeError(
                "cannot tell control groups apart: there is no hierarchy of the second version (cgroup2) here"
            )
        try:
            library = _load()
            for name, bit in groups.items():
                self._hold(library, where, name, bit)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Take the programs from their groups. May be repeated, and in a forked process closes its copies."""
        while self._held:
            os.close(self._held.pop())

    def _hold(self, library: ctypes.CDLL, root: Path, name: str, bit: int) -> None:
        what = f"cannot mark the sockets of control group {name!r}"
        try:
            folder = os.open(root / name.lstrip("/"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            why = f"{_words(error.errno)} (its path below {root}; systemd-cgls shows them)"
            raise SystemChangeError(f"{what}: {why}") from error
        try:
            program = _loaded(library, bit, what)
            try:
                link = library.bpf_link_create(program, folder, _SOCK_CREATE, None)
            finally:
                os.close(program)
        finally:
            os.close(folder)
        if link < 0:
            raise SystemChangeError(f"{what}: {_why(-link)}")
        self._held.append(link)


def hierarchy(mounts: Path = Path("/proc/self/mounts")) -> Path | None:
    """Return where control groups of the second version are mounted, None where they are not."""
    with contextlib.suppress(OSError):
        for line in mounts.read_text().splitlines():
            _, where, kind, *_ = line.split()
            if kind == "cgroup2":
                return Path(where)
    return None


def _loaded(library: ctypes.CDLL, bit: int, what: str) -> int:
    """Return a descriptor of a program that sets bit in a new socket's mark. Raises SystemChangeError."""
    code = b"".join(
        (
            _INSTRUCTION.pack(_LDX_W, 1 << 4 | 2, _MARK, 0),  # r2 = ctx->mark
            _INSTRUCTION.pack(_OR_K, 2, 0, bit),
            _INSTRUCTION.pack(_STX_W, 2 << 4 | 1, _MARK, 0),
            _INSTRUCTION.pack(_MOV_K, 0, 0, 1),  # the socket may be made
            _INSTRUCTION.pack(_EXIT, 0, 0, 0),
        )
    )
    count = len(code) // _INSTRUCTION.size
    made = int(library.bpf_prog_load(_CGROUP_SOCK, b"tunproxy", b"MIT", code, count, None))
    if made < 0:
        raise SystemChangeError(f"{what}: {_why(-made)}")
    return made


def _load() -> ctypes.CDLL:
    library = libc.load_library(LIBRARY, "tell control groups apart", "libbpf1")
    library.bpf_prog_load.argtypes = (
        ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p,
    )  # fmt: skip
    library.bpf_link_create.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
    return library


def _why(code: int) -> str:
    if code in (errno.EPERM, errno.EACCES):
        return "not permitted (needs CAP_BPF, or CAP_SYS_ADMIN)"
    if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return f"{_words(code)} (this kernel is too old, or built without CONFIG_CGROUP_BPF)"
    return _words(code)


def _words(code: int | None) -> str:
    return os.strerror(code or 0).lower()
