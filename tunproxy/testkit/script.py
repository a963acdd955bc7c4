"""What the other end of a conversation expects and says, written down as a test reads."""

import asyncio
import socket
from typing import Final

from tunproxy.flow.conversation import Conversation

EXPECTS: Final = "expects"
SENDS: Final = "sends"
WAITS: Final = "waits"
CLOSES: Final = "closes"


class Script:
    """The lines of one server: ``Script().expects(b"\\x05\\x01\\x00").sends(b"\\x05\\x00")``.

    After the last line it reads on and says nothing; what came is in rest.
    """

    def __init__(self) -> None:
        self._lines: Final[list[tuple[str, bytes, float]]] = []
        self.rest = b""
        self.is_done = False

    def expects(self, data: bytes) -> "Script":
        """Wait for these octets; anything else is an AssertionError in the test."""
        self._lines.append((EXPECTS, data, 0.0))
        return self

    def sends(self, data: bytes) -> "Script":
        """Send these octets."""
        self._lines.append((SENDS, data, 0.0))
        return self

    def waits(self, seconds: float) -> "Script":
        """Let time pass, on the virtual clock."""
        self._lines.append((WAITS, b"", seconds))
        return self

    def closes(self) -> "Script":
        """Hang up."""
        self._lines.append((CLOSES, b"", 0.0))
        return self

    async def perform(self, sock: socket.socket) -> None:
        """Play the server on a connected socket, to the end. Raises AssertionError."""
        loop = asyncio.get_running_loop()
        heard = b""
        for deed, data, seconds in self._lines:
            if deed == EXPECTS:
                while len(heard) < len(data) and data.startswith(heard):
                    more = await loop.sock_recv(sock, 65536)
                    if not more:
                        break
                    heard += more
                heard = _without(heard, data)
            elif deed == SENDS:
                await loop.sock_sendall(sock, data)
            elif deed == WAITS:
                await asyncio.sleep(seconds)
            else:
                self.is_done = True
                return
        self.is_done = True
        self.rest = heard
        while data := await loop.sock_recv(sock, 65536):
            self.rest += data

    def play(self, conversation: Conversation, *, cut: int = 0) -> bytes:
        """Hold a conversation without any socket; return the target's octets that it was left with.

        What the script sends arrives in pieces of cut octets, 0 for whole: a conversation must not mind.
        Raises AssertionError where it says something else, or is not over at the end of the script, and
        what the conversation raises.
        """
        said = conversation.begin()
        for deed, data, _ in self._lines:
            if deed == EXPECTS:
                said = _without(said, data)
            elif deed == SENDS:
                step = cut or len(data)
                for at in range(0, len(data), step):
                    piece = data[at : at + step]
                    if conversation.is_over:
                        conversation.rest += piece
                    else:
                        said += conversation.heard(piece)
        self.is_done = True
        assert not said, f"the conversation says more than the script expects: {said!r}"
        assert conversation.is_over, "the script is over, and the conversation is not"
        return conversation.rest


def _without(heard: bytes, expected: bytes) -> bytes:
    """Return what was heard beyond what was expected. Raises AssertionError."""
    assert heard.startswith(expected), f"the server expected {expected!r}, and heard {heard!r}"
    return heard[len(expected) :]
