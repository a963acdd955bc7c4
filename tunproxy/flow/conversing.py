"""Holding a conversation with a proxy before the client is answered, inside the packet path's own epoll.

dial ─ on_dialled ─▶ begin_talk ─▶ on_talk ─ … ─▶ connected
                         └────────────┴── failed
"""

import errno
import os
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy import clock
from tunproxy.clock import Micros
from tunproxy.errors import ConversationError
from tunproxy.flow.conversation import Conversation
from tunproxy.flow.ports import ERROR, HANGUP, PEER_HANGUP, READABLE
from tunproxy.flow.verdict import FlowInfo, Verdict

if TYPE_CHECKING:
    from tunproxy.flow.tcp_flow import TcpFlow

_ETIMEDOUT: Final = errno.ETIMEDOUT
os_read: Final = os.read

# our choices
TALK_LIMIT: Final[i64] = (
    30_000_000  # µs: longer than a greeting through two slow proxies, shorter than patience
)
MAX_WORDS: Final[i64] = 65_536  # octets that a proxy may say before it comes to the point
READ_SIZE: Final = 4096

# what has become of a conversation
GOES_ON: Final = 0
IS_OVER: Final = 1
HAS_FAILED: Final = 2


@final
@mypyc_attr(native_class=True)
class Talk:
    """A conversation about one flow, from the dialling of the proxy to its last word."""

    def __init__(self, conversation: Conversation, info: FlowInfo, verdict: Verdict, now: Micros) -> None:
        self.conversation: Final = conversation
        self.info: Final = info
        self.verdict: Final = verdict
        self.until: Final = now + TALK_LIMIT
        self.began_at: Micros = now  # our first words
        self.has_begun: bool = False
        self.unsent: bytes = b""
        self.heard: i64 = 0
        self.error: int = 0  # why it failed, for the client


def begin_talk(flow: "TcpFlow", talk: Talk) -> int:
    """Say the first words, as the proxy has been reached; return what has become of it."""
    talk.has_begun = True
    talk.began_at = clock.now()
    try:
        words = talk.conversation.begin()
        _check(talk.conversation, words)
    except BaseException as error:  # a plugin's sys.exit() must not end the process
        return _fail(flow, talk, error)
    return _say(flow, talk, words)


def on_talk(flow: "TcpFlow", talk: Talk, events: i64) -> int:
    """Go on with the conversation after a readiness report; return what has become of it."""
    if len(talk.unsent) > 0:
        became = _say(flow, talk, b"")
        if became != GOES_ON:
            return became
    if not events & (READABLE | PEER_HANGUP | HANGUP | ERROR):
        return GOES_ON
    while True:
        try:
            data = os_read(flow.fd, READ_SIZE)
        except BlockingIOError:
            return GOES_ON
        except OSError as error:
            return _fail(flow, talk, error)
        size = i64(len(data))
        if size == 0:
            why = "the proxy hung up in the middle of the conversation"
            return _fail(flow, talk, ConversationError(why))
        talk.heard += size
        if talk.heard > MAX_WORDS:
            return _fail(
                flow, talk, ConversationError("the proxy has said too much and not come to the point")
            )
        try:
            words = talk.conversation.heard(data)
            _check(talk.conversation, words)
        except BaseException as error:
            return _fail(flow, talk, error)
        became = _say(flow, talk, words)
        if became != GOES_ON:
            # a short read has emptied the socket, and no report would come of what is left after a full one
            flow.readable = size == READ_SIZE or events & (PEER_HANGUP | HANGUP | ERROR) != 0
            return became
        if size < READ_SIZE and not events & (PEER_HANGUP | HANGUP | ERROR):
            return GOES_ON


def time_out(flow: "TcpFlow", talk: Talk) -> None:
    """Note that the proxy has not come to the point in time."""
    why = f"no answer of the proxy in {TALK_LIMIT // 1_000_000} s"
    _fail(flow, talk, ConversationError(why, _ETIMEDOUT))


def _say(flow: "TcpFlow", talk: Talk, words: bytes) -> int:
    """Send words, behind what could not be sent before; return what has become of the conversation."""
    if len(talk.unsent) > 0:
        words = talk.unsent + words
        talk.unsent = b""
    sock = flow.sock
    if len(words) > 0 and sock is not None:
        try:
            sent = sock.send(words)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            return _fail(flow, talk, error)
        if sent < len(words):
            talk.unsent = words[sent:]
            return GOES_ON
    return IS_OVER if talk.conversation.is_over else GOES_ON


def _check(conversation: Conversation, words: bytes) -> None:
    """Raise TypeError where a conversation, which may be a plugin's, comes up with what are no octets."""
    for octets in (words, conversation.rest):
        if not isinstance(octets, bytes):
            raise TypeError(f"{type(octets).__name__} in a conversation, not bytes")


def _fail(flow: "TcpFlow", talk: Talk, error: BaseException) -> int:
    talk.error = flow.context.opener.explain(talk.info, talk.verdict, error)
    life = flow.life
    if life is not None:
        took = clock.now() - talk.began_at
        life.note_failed(talk.verdict.upstream, took, error)
    return HAS_FAILED
