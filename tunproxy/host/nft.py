"""A table of nftables that is ours, through the library that the program ``nft`` is made of (libnftables).

Debian and others have it apart from the program, and it is loaded when somebody needs it: what needs no
table runs without. The table has the flag ``owner`` (Linux 5.12): nobody else can change it, ``nft flush
ruleset`` passes it by, and when our socket closes, because we end by whatever signal, the kernel removes it.
"""

import contextlib
import ctypes
import errno
import json
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final  # Any: of pyroute2, which has no types

from tunproxy.errors import SystemChangeError
from tunproxy.host import libc, privileges
from tunproxy.host.pyroute import NetlinkError

LIBRARY: Final = "libnftables.so.1"

NETLINK_NETFILTER: Final = 12  # linux/netlink.h
_INET: Final = 1  # linux/netfilter.h: NFPROTO_INET
_OUTPUT_JSON: Final = 1 << 4  # nftables/libnftables.h: NFT_CTX_OUTPUT_JSON
_DENIED: Final = "operation not permitted"
_ERRORS: Final = (NetlinkError, OSError)
_MISSING: Final = ("no such file or directory", "operation not supported", "protocol not supported")


@dataclass(frozen=True)
class BaseChain:
    """A chain that packets meet, anybody's; policy is what becomes of those that no rule of it decides."""

    family: str
    table: str
    name: str
    policy: str


class NftTable:
    """The table ``inet NAME`` of this network namespace. One thread at a time may use the object.

    With is_owned=False the table is an ordinary one, which stays when we end.
    """

    def __init__(self, name: str, *, is_owned: bool = True) -> None:
        """Raises SystemChangeError where there is no libnftables, or the kernel has no nftables.

        The table itself is made by apply.
        """
        self.name: Final = name
        self._is_owned: Final = is_owned
        self._library: Final = _load()
        _try_socket()
        self._context = self._library.nft_ctx_new(0)
        if not self._context:
            raise SystemChangeError("cannot use nftables: no memory is left")
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)

    def apply(self, content: str) -> None:
        """Make content all that the table holds, in one step: chains, sets and counters, as nft writes them.

        What counters in it have counted is lost. Raises SystemChangeError; the table is as before then.
        """
        table = f"table inet {self.name}"
        flags = "flags owner;" if self._is_owned else ""
        self._run(
            f"add {table} {{ {flags} }}\ndelete {table}\n{table} {{\n{flags}\n{content}\n}}\n", _OUTPUT_JSON
        )

    def counters(self) -> dict[str, int]:
        """Return what the named counters (``counter NAME {}``) have counted, in packets.

        Raises SystemChangeError.
        """
        said = self._run(f"list counters table inet {self.name}\n", _OUTPUT_JSON)
        found = [
            each["counter"] for each in json.loads(said or "{}").get("nftables", ()) if "counter" in each
        ]
        return {str(each["name"]): int(each["packets"]) for each in found if each.get("table") == self.name}

    def counted(self, name: str) -> list[tuple[tuple[str | int, ...], int]]:
        """Return the elements of a set of concatenations with counters, and the packets of each.

        Raises SystemChangeError.
        """
        said = self._run(f"list set inet {self.name} {name}\n", _OUTPUT_JSON)
        found = []
        for each in json.loads(said or "{}").get("nftables", ()):
            for element in each.get("set", {}).get("elem", ()):
                entry = element.get("elem", {})
                if "counter" in entry:
                    found.append((tuple(entry["val"]["concat"]), int(entry["counter"]["packets"])))
        return found

    def chains_at(self, hook: str) -> list[BaseChain]:
        """Return the chains at a hook ("output"), of all tables there are. Raises SystemChangeError."""
        said = json.loads(self._run("list chains\n", _OUTPUT_JSON) or "{}")
        found = [each["chain"] for each in said.get("nftables", ()) if "chain" in each]
        return [
            BaseChain(each["family"], each["table"], each["name"], each.get("policy", "accept"))
            for each in found
            if each.get("hook") == hook
        ]

    def delete(self) -> None:
        """Remove the table, if it is there. Raises SystemChangeError."""
        flags = "flags owner;" if self._is_owned else ""
        self._run(f"add table inet {self.name} {{ {flags} }}\ndelete table inet {self.name}\n", 0)

    def close(self) -> None:
        """Close our socket: an owned table vanishes, in this moment. May be repeated."""
        if self._context:
            self._library.nft_ctx_free(self._context)
            self._context = None

    def _run(self, commands: str, flags: int) -> str:
        if not self._context:
            raise SystemChangeError(f"cannot use the nftables table {self.name}: it is closed")
        self._library.nft_ctx_output_set_flags(self._context, flags)
        failed = self._library.nft_run_cmd_from_buffer(self._context, commands.encode())
        said: bytes = self._library.nft_ctx_get_output_buffer(self._context)
        complaint: bytes = self._library.nft_ctx_get_error_buffer(self._context)
        if failed:
            why = _why(complaint.decode(errors="replace"))
            raise SystemChangeError(f"cannot change the nftables table {self.name}: {why}")
        return said.decode(errors="replace")


def has_table(name: str) -> bool:
    """Tell whether there is a table ``inet NAME``; without nftables, or rights, we know of none.

    This asks the kernel directly, for whoever has to know where libnftables is missing.
    """
    try:
        with _tables() as tables:
            return any(each.get_attr("NFTA_TABLE_NAME") == name for each in tables.get_tables())
    except _ERRORS:
        return False


def delete_table(name: str) -> None:
    """Remove the table ``inet NAME``, if it is there, also without libnftables. Raises SystemChangeError."""
    # pyroute2 would wait for ever for an answer to who may not ask.
    if not privileges.has_capabilities(privileges.CAP_NET_ADMIN):
        raise SystemChangeError(f"cannot remove the nftables table {name}: {_why(_DENIED)}")
    try:
        with _tables() as tables:
            tables.table("del", name=name)
    except _ERRORS as error:
        number = error.code if isinstance(error, NetlinkError) else error.errno or 0
        if number != errno.ENOENT:
            why = _why(os.strerror(number))
            raise SystemChangeError(f"cannot remove the nftables table {name}: {why}") from error


@contextlib.contextmanager
def _tables() -> Iterator[Any]:
    from pyroute2.nftables.main import NFTables  # type: ignore[import-untyped]  # not needed by most runs

    tables = NFTables(nfgen_family=_INET)
    try:
        yield tables
    finally:
        tables.close()


def _why(complaint: str) -> str:
    """Return the reason in what the library complains of, in one line, and what can be done about it."""
    first = complaint.strip().partition("\n")[0]
    reason = (
        re.sub(r"^.*?Error: ", "", first).removeprefix("Could not process rule: ").strip()
        or "no reason given"
    )
    reason = reason[:1].lower() + reason[1:]
    if reason.lower().endswith(_DENIED):
        return f"{reason} (run as root; or another process owns a table of that name)"
    if reason.endswith(_MISSING) and "path" not in reason:
        return f"{reason} (this kernel lacks a part of nftables)"
    return reason


def _try_socket() -> None:
    """Raise SystemChangeError where the library could not open its socket: it would end our process then."""
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER).close()
    except OSError as error:
        raise SystemChangeError(f"cannot use nftables: {_why(error.strerror or str(error))}") from error


def _load() -> ctypes.CDLL:
    """Return the library. Raises SystemChangeError."""
    library = libc.load_library(LIBRARY, "use nftables", "libnftables1")
    context, text = ctypes.c_void_p, ctypes.c_char_p
    library.nft_ctx_new.restype, library.nft_ctx_new.argtypes = context, (ctypes.c_uint32,)
    library.nft_ctx_free.restype, library.nft_ctx_free.argtypes = None, (context,)
    library.nft_ctx_output_set_flags.restype = None
    library.nft_ctx_output_set_flags.argtypes = (context, ctypes.c_uint)
    library.nft_run_cmd_from_buffer.argtypes = (context, text)
    for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(library, name).argtypes = (context,)
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).restype, getattr(library, name).argtypes = text, (context,)
    return library
