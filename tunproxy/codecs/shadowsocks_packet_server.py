"""The server's end of Shadowsocks over UDP: whose a datagram is, and what goes back to him.

The format is in ``shadowsocks_packet``.
"""

import os
import time
from collections.abc import Callable
from typing import Final

from tunproxy.codecs.shadowsocks_address import parse_address
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
    Aead,
    ServerKeys,
    ShadowsocksError,
    block_decryptor,
)
from tunproxy.codecs.shadowsocks_replay import SaltMemory
from tunproxy.codecs.shadowsocks_sessions import Claim, SessionMemory
from tunproxy.codecs.shadowsocks_stream import FROM_CLIENT, FROM_SERVER
from tunproxy.flow.framing import Source

# our choice
MOST_SESSIONS: Final = 65_536  # of one server; the one that was silent for longest makes room


class PacketSession:
    """A client, as a server knows it: what answers to it are sealed with.

    id is its session's, b"" in the edition of 2017, where a client is known by its address only; user is its
    name, "" where there are no users. last_at is when its last datagram was taken, in seconds.
    """

    __slots__ = ("_aead", "_number", "_own", "claim", "id", "key", "last_at", "sender", "user")

    def __init__(
        self, sender: Sender, user: str, key: bytes, own: bytes, aead: Aead | None, claim: Claim
    ) -> None:
        self.id: Final = sender.session
        self.user: Final = user
        self.key: Final = key
        self.sender: Final = sender
        self.claim: Final = claim
        self.last_at: float = 0.0
        self._own: Final = own
        self._aead: Final = aead
        self._number = 0

    def next_head(self) -> bytes:
        """Return the server's session and the next number of it."""
        head = self._own + self._number.to_bytes(8, "big")
        self._number += 1
        return head

    def seal_body(self, head: bytes, body: bytes) -> bytes:
        """Return body sealed with the key of the server's session."""
        assert self._aead is not None
        return self._aead.encrypt(head[4:], body, None)


class PacketServer:
    """The server's end of all sessions with some keys.

    sessions (2022) and salts (2017) are what has been said before, also to other processes.
    """

    def __init__(
        self,
        keys: ServerKeys,
        now: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
        sessions: SessionMemory | None = None,
        salts: SaltMemory | None = None,
    ) -> None:
        self._keys: Final = keys
        self._method: Final = keys.method
        self._now: Final = now
        self._random: Final = random
        self._memory: Final = sessions or SessionMemory()
        self._salts: Final = salts or SaltMemory(is_2022=False)
        self._sessions: Final[dict[bytes, PacketSession]] = {}  # the one that was silent for longest first
        self._boxes: Final[dict[bytes, Box]] = {}  # by key
        nobody = Sender(b"", None)
        self._anybody: Final = PacketSession(nobody, "", keys.key, b"", None, Claim())  # who asks, in 2017
        if keys.method.is_2022:
            self._outer: Final = Box(keys.method, keys.key)
            if keys.method.is_aes:
                self._identities: Final = block_decryptor(keys.key)

    def open(self, datagram: bytes) -> tuple[PacketSession, Source, bytes]:
        """Return whose a client's datagram is, its target, and its payload.

        Raises ShadowsocksError; ElsewhereError where it is for another process, which is to open it.
        A session is the same object until it is forgotten; in the edition of 2017 there is one for all.
        """
        method = self._method
        if not method.is_2022:
            salt, clear = unseal_2017(method, self._keys.key, datagram)
            end = checked_end(clear, 0)
            if not self._salts.is_new(salt, 0.0):
                raise ShadowsocksError("replayed datagram: its salt has been seen")
            return self._anybody, parse_address(clear, 0, end), clear[end:]
        user, key = "", self._keys.key
        skipped = IDENTITY_LEN if self._keys.users else 0
        session, number, sealed = self._outer.split(datagram, skipped)
        if skipped:
            head = session + number.to_bytes(8, "big")
            identity = xor(self._identities.update(datagram[HEAD_LEN : HEAD_LEN + IDENTITY_LEN]), head)
            found = self._keys.users.get(identity)
            if found is None:
                raise ShadowsocksError("wrong password or method: nobody known has sent this")
            user, key = found
        known = self._sessions.get(session)
        if known is None:
            self._memory.check(session, self._now())
        elif known.key != key:
            raise ShadowsocksError("a datagram of one user is in the session of another")
        sender = known.sender if known is not None else Sender(session, self._box(key).aead(session))
        if not sender.window.is_new(number):
            raise ShadowsocksError("replayed datagram: its number has been seen")
        body = sender.open(sealed, session, number)
        if len(body) < 11:
            raise ShadowsocksError(SHORT)
        if body[:1] != FROM_CLIENT:
            raise ShadowsocksError("a datagram is no client's: a server's came back")
        check_time(body[1:9], self._now)
        start = 11 + (body[9] << 8 | body[10])
        end = checked_end(body, start)
        now = self._now()
        if known is None:
            claim = self._memory.claim(session, now)
            sender.window.begin_behind(claim.reached())
            if not sender.window.is_new(number):
                raise ShadowsocksError("replayed datagram: its number has been seen")
            known = self._begin(sender, user, key, claim)
        known.claim.note(max(sender.window.highest, number), now)
        sender.window.add(number)
        self._sessions.pop(session, None)
        self._sessions[session] = known
        known.last_at = now
        return known, parse_address(body, start, end), body[end:]

    def seal(self, session: PacketSession, address: bytes, payload: bytes | memoryview) -> bytes:
        """Return the datagram that tells a client what address said, in the form of ``emit_address``."""
        method = self._method
        if not method.is_2022:
            return seal_2017(method, self._keys.key, self._random(method.key_len), address, payload)
        head = session.next_head()
        body = b"".join((FROM_SERVER, stamp_of(self._now), session.id, NO_PADDING, address, payload))
        box = self._box(session.key)
        if not method.is_aes:
            return box.seal_whole(self._random, head, body)
        return box.encrypt_head(head) + session.seal_body(head, body)

    def keep(self, session: PacketSession) -> None:
        """Keep a session whose client is silent, but is still told something."""
        if self._sessions.get(session.id) is session:
            session.claim.note(session.sender.window.highest, self._now())

    def forget(self, session: PacketSession) -> None:
        """Forget a session whose answers nobody waits for any more."""
        if self._sessions.get(session.id) is session:
            del self._sessions[session.id]

    def forget_before(self, moment: float) -> None:
        """Forget sessions that have said nothing since moment, in seconds of the clock that was given."""
        for session in list(self._sessions.values()):
            if session.last_at >= moment:
                return
            del self._sessions[session.id]

    def __len__(self) -> int:
        return len(self._sessions)

    def _begin(self, sender: Sender, user: str, key: bytes, claim: Claim) -> PacketSession:
        if len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        own = self._random(SESSION_LEN)
        while own == sender.session:  # which must not be used for both (SIP022 §3.2.2)
            own = self._random(SESSION_LEN)
        return PacketSession(sender, user, key, own, self._box(key).aead(own), claim)

    def _box(self, key: bytes) -> Box:
        found = self._boxes.get(key)
        if found is None:
            found = self._boxes[key] = Box(self._method, key)
        return found
