"""Shadowsocks over UDP (SIP007: edition 2017; SIP022 §3.2, §4.1: 2022): the format, and the client's end.

    2017        salt ‖ address, payload, sealed                         for itself: there are no sessions
    2022, AES   16 session, number, encrypted ‖ 16 identity … ‖ header, padding, address, payload, sealed
    2022, else  24 nonce ‖ session, number, header, padding, address, payload, sealed

A session is a client's, and a server has one of its own for each; both count their packets, so that nothing
is taken twice. Whoever opens a datagram gets address ‖ payload, with the address in the form of
``emit_address``. Nothing here does I/O; bad datagrams raise ShadowsocksError and change nothing.
"""

import os
import time
from collections.abc import Callable
from typing import Final

from tunproxy.codecs.shadowsocks_address import address_end, parse_address
from tunproxy.codecs.shadowsocks_boxes import (
    HEAD_LEN,
    NO_PADDING,
    SESSION_LEN,
    SHORT,
    Box,
    Sender,
    check_time,
    checked_end,
    seal_2017,
    stamp_of,
    unseal_2017,
    xor,
)
from tunproxy.codecs.shadowsocks_keys import (
    IDENTITY_LEN,
    TAG_LEN,
    Keys,
    ShadowsocksError,
    block_encryptor,
    identity_of,
)
from tunproxy.codecs.shadowsocks_stream import FROM_CLIENT, FROM_SERVER
from tunproxy.codecs.xchacha import XCHACHA_NONCE_LEN
from tunproxy.flow.framing import Source

# our choice
OLD_SESSION: Final = 60.0  # seconds after which a server's former session has nothing more to say (§3.2.4)


class PacketClient:
    """The client's end of one session: one port of ours, and datagrams to and from any number of targets."""

    def __init__(
        self,
        keys: Keys,
        now: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._keys: Final = keys
        self._method: Final = keys.method
        self._now: Final = now
        self._random: Final = random
        self._number: int = 0
        self._theirs: Sender | None = None
        self._former: Sender | None = None
        if not keys.method.is_2022:
            return
        self.session: Final = random(SESSION_LEN)
        self._box: Final = Box(keys.method, keys.key)
        self._sealing: Final = self._box.aead(self.session)
        layers = (*keys.identities, keys.key)
        self._outer: Final = block_encryptor(layers[0]) if keys.method.is_aes else None
        self._layers: Final = [
            (block_encryptor(layers[at]), identity_of(layers[at + 1])) for at in range(len(layers) - 1)
        ]

    @property
    def overhead(self) -> int:
        """Octets that ``seal`` adds to address and payload."""
        method = self._method
        if not method.is_2022:
            return method.key_len + TAG_LEN
        head = 11 + TAG_LEN  # type, time, length of the padding
        if not method.is_aes:
            return head + XCHACHA_NONCE_LEN + HEAD_LEN
        return head + HEAD_LEN + IDENTITY_LEN * len(self._layers)

    def seal(self, address: bytes, payload: bytes | memoryview) -> bytes:
        """Return the datagram that carries payload to address, which is in the form of ``emit_address``."""
        method = self._method
        if not method.is_2022:
            return seal_2017(method, self._keys.key, self._random(method.key_len), address, payload)
        head = self.session + self._number.to_bytes(8, "big")
        self._number += 1
        body = b"".join((FROM_CLIENT, stamp_of(self._now), NO_PADDING, address, payload))
        if self._outer is None or self._sealing is None:
            return self._box.seal_whole(self._random, head, body)
        sealed = self._sealing.encrypt(head[4:], body, None)
        identities = [layer.update(xor(identity, head)) for layer, identity in self._layers]
        return b"".join((self._outer.update(head), *identities, sealed))

    def unseal(self, datagram: bytes) -> bytes:
        """Return address ‖ payload of a datagram from the server: the address is whom it comes from.

        Raises ShadowsocksError.
        """
        method = self._method
        if not method.is_2022:
            _, clear = unseal_2017(method, self._keys.key, datagram)
            checked_end(clear, 0)
            return clear
        session, number, sealed = self._box.split(datagram, 0)
        sender = self._theirs
        if sender is None or sender.session != session:
            former = self._former
            sender = former if former is not None and former.session == session else None
        is_known = sender is not None
        if sender is None:
            sender = Sender(session, self._box.aead(session))
        if not sender.window.is_new(number):
            raise ShadowsocksError("replayed datagram: its number has been seen")
        body = sender.open(sealed, session, number)
        if len(body) < 19:
            raise ShadowsocksError(SHORT)
        if body[:1] != FROM_SERVER:
            raise ShadowsocksError("a datagram is no server's: our own came back")
        check_time(body[1:9], self._now)
        if body[9:17] != self.session:
            raise ShadowsocksError("a datagram belongs to another session")
        start = 19 + (body[17] << 8 | body[18])
        checked_end(body, start)
        if not is_known:
            self._admit(sender)
        sender.window.add(number)
        sender.last_at = self._now()
        return body[start:]

    def open(self, datagram: bytes) -> tuple[Source, bytes]:
        """Return who sent a datagram that came from the server, and its payload. Raises ShadowsocksError."""
        return _parsed(self.unseal(datagram))

    def _admit(self, sender: Sender) -> None:
        """Let a new session of the server's take the place of the last (SIP022 §3.2.4)."""
        former = self._former
        if former is not None and self._now() - former.last_at < OLD_SESSION:
            raise ShadowsocksError("the server begins one session after the other")
        self._former = self._theirs
        self._theirs = sender


def _parsed(clear: bytes) -> tuple[Source, bytes]:
    end = address_end(clear)
    return parse_address(clear, 0, end), clear[end:]
