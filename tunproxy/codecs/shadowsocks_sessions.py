"""Which sessions of datagrams a server has, and how far each has counted (SIP022 §3.2.4).

A server of several processes has one memory for all of them, so that nothing is taken twice, whichever of
them hears it. A session is in one process, which has its window and the sockets to its targets.
"""

from tunproxy.codecs.shadowsocks_keys import ShadowsocksError


class ElsewhereError(ShadowsocksError):
    """A datagram is in the session of another process, whose number is owner."""

    def __init__(self, owner: int) -> None:
        super().__init__(f"the session is in process {owner}")
        self.owner = owner


class Claim:
    """A session that is ours. This one is for a server of one process, and keeps nothing."""

    def reached(self) -> int:
        """Return the highest number that was noted, also by a process that had it before; -1: none."""
        return -1

    def note(self, highest: int, now: float) -> None:
        """Keep the session: it has reached the number highest. now is in seconds of the wall clock.

        Raises ShadowsocksError where the session, silent for very long, is no more ours.
        """


class SessionMemory:
    """All sessions. This one is for a server of one process: what is not its own is nobody's."""

    def check(self, session: bytes, now: float) -> None:
        """Raise ElsewhereError where another process has the session."""

    def claim(self, session: bytes, now: float) -> Claim:
        """Have a session, which a datagram has proved to be a client's.

        Raises ElsewhereError where another process has it, ShadowsocksError where there is no room.
        """
        return Claim()
