"""The server's end of a Shadowsocks stream: who asks for which target, and whether he has asked before."""

import os
import time
from collections.abc import Callable
from typing import Final

from mypy_extensions import i64, mypyc_attr

from tunproxy.codecs.shadowsocks_address import MAX_ADDRESS, address_end, parse_address
from tunproxy.codecs.shadowsocks_chunks import LENGTH_LEN, Sealer, Unsealer, word
from tunproxy.codecs.shadowsocks_keys import (
    IDENTITY_LEN,
    TAG_LEN,
    ServerKeys,
    ShadowsocksError,
    block_decryptor,
    identity_key,
)
from tunproxy.codecs.shadowsocks_replay import SaltMemory
from tunproxy.codecs.shadowsocks_stream import (
    FIRST,
    FROM_CLIENT,
    FROM_SERVER,
    HEADER,
    LENGTH,
    REQUEST_HEADER_LEN,
    SALT,
    ShadowsocksStream,
)
from tunproxy.flow.framing import Source


@mypyc_attr(allow_interpreted_subclasses=True)
class ShadowsocksServer(ShadowsocksStream):
    """The server's end of one stream. salts is the memory of all streams with these keys.

    Once decode has got so far, target is whom the client wants to reach, and user the name of who asks, ""
    where keys knows no users. Before that nothing can be encoded. Whoever owns the socket must not show how
    much was read before decode raised: a reset, or reading on in silence (SIP022 §3.1.3).
    """

    def __init__(
        self,
        keys: ServerKeys,
        salts: SaltMemory,
        now: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        super().__init__(keys.method, now, random)
        self._keys: Final = keys
        self._salts: Final = salts
        self._salt: bytes = b""
        self._key: bytes = keys.key
        self._head: bytes = b""  # of 2017: what is known of the target
        self.target: Source | None = None
        self.user: str = ""
        if keys.users:
            self._wanted = keys.method.key_len + IDENTITY_LEN

    def decode(self, data: bytes) -> bytes:
        clear = super().decode(data)
        if self.target is not None or not clear:
            return clear
        self._is_spoiled = True  # unless it goes well
        clear = self._read_target(clear)  # of 2017: the first words in the clear
        self._is_spoiled = False
        return clear

    def decode_end(self) -> bytes:
        super().decode_end()
        if self.target is None and self._next != SALT:
            raise ShadowsocksError("truncated: the stream ends within the target's address")
        return b""

    def _begin(self, payload: bytes | memoryview, out: list[bytes | memoryview]) -> None:
        method = self._method
        if self.target is None:
            raise ShadowsocksError("nothing can be answered before the client has asked")
        if len(payload) == 0:
            return
        salt = self._random(method.key_len)
        sealer = Sealer(method, method.subkey(self._key, salt))
        self._sealer = sealer
        out.append(salt)
        if not method.is_2022:
            sealer.seal_chunks(payload, 0, out)
            return
        first = payload[: method.most_per_chunk]
        out.append(sealer.seal(FROM_SERVER + self._stamp() + self._salt + word(len(first))))
        out.append(sealer.seal(first))
        sealer.seal_chunks(payload, len(first), out)

    def _read_start(self, piece: bytes | memoryview, found: list[bytes]) -> None:
        if self._next == SALT:
            self._read_salt(bytes(piece))
            return
        assert self._unsealer is not None
        clear = self._unsealer.unseal(piece)
        if self._next == HEADER:
            if clear[:1] != FROM_CLIENT:
                raise ShadowsocksError("what arrived is no client's request: a server's words came back")
            self._check_time(clear[1:9])
            self._note_salt()
            self._next = FIRST
            self._wanted = (i64(clear[-2]) << 8 | i64(clear[-1])) + TAG_LEN
            return
        end = address_end(clear)
        if end < 0 or end + 2 > len(clear):
            raise ShadowsocksError("the request ends within the target's address")
        padding = clear[end] << 8 | clear[end + 1]
        start = end + 2 + padding
        if start > len(clear):
            raise ShadowsocksError("the request's padding is longer than the request")
        if padding == 0 and start == len(clear):
            raise ShadowsocksError("the request has neither payload nor padding (SIP022 §3.1.3)")
        self.target = parse_address(clear, 0, end)
        if start < len(clear):
            found.append(clear[start:])
        self._next = LENGTH
        self._wanted = LENGTH_LEN

    def _read_salt(self, piece: bytes) -> None:
        """Begin with the salt and, where there are users, the header that says who it is."""
        keys = self._keys
        method = self._method
        self._salt = piece[: method.key_len]
        if keys.users:
            decryptor = block_decryptor(identity_key(keys.key, self._salt, method.key_len))
            found = keys.users.get(decryptor.update(piece[method.key_len :]))
            if found is None:
                raise ShadowsocksError("wrong password or method: nobody known has sent this")
            self.user, self._key = found
        self._unsealer = Unsealer(method, method.subkey(self._key, self._salt))
        self._next = HEADER if method.is_2022 else LENGTH
        self._wanted = REQUEST_HEADER_LEN + TAG_LEN if method.is_2022 else LENGTH_LEN

    def _read_target(self, clear: bytes) -> bytes:
        """Take the address that a stream of 2017 begins with; return what follows it."""
        if not self._head:
            self._note_salt()
        head = self._head + clear
        end = address_end(head)
        if end < 0:
            assert len(head) < MAX_ADDRESS
            self._head = head
            return b""
        self._head = b""
        self.target = parse_address(head, 0, end)
        return head[end:]

    def _note_salt(self) -> None:
        if not self._salts.is_new(self._salt, self._now()):
            raise ShadowsocksError("replayed session: somebody has recorded it and sends it again")
