"""What the packet path needs from the levels above it, declared here and passed in by whoever composes.

Each of these is a plug point: compiled code calls it, interpreted code (tests, the composition root) may
implement it.
"""

import socket
from typing import Final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.flow.codec import Codec
from tunproxy.flow.conversation import Conversation
from tunproxy.flow.framing import Framing
from tunproxy.flow.life import FlowLife
from tunproxy.flow.seal import Seal
from tunproxy.flow.stream_framing import StreamFraming
from tunproxy.flow.tap import Tap
from tunproxy.flow.verdict import FlowInfo, Verdict
from tunproxy.wire.sink import FrameSink as FrameSink

RANGE: Final[i64] = 1 << 24  # our choice: numbers that a worker gives to flows before the next one's begin

READABLE: Final[i64] = 0x001  # EPOLLIN
URGENT: Final[i64] = 0x002  # EPOLLPRI
WRITABLE: Final[i64] = 0x004  # EPOLLOUT
ERROR: Final[i64] = 0x008  # EPOLLERR
HANGUP: Final[i64] = 0x010  # EPOLLHUP
PEER_HANGUP: Final[i64] = 0x2000  # EPOLLRDHUP
EDGE: Final[i64] = 1 << 31  # EPOLLET


@mypyc_attr(allow_interpreted_subclasses=True)
class Descriptor:
    """Something with a file descriptor that the packet path watches; on_ready may close it."""

    def on_ready(self, events: i64, now: Micros) -> None:
        """Handle a readiness report; events is a mask of epoll's bits. Must not block or raise."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Timed(Descriptor):
    """Something with a deadline, for the timer wheel; most have a descriptor as well."""

    def __init__(self) -> None:
        self.scheduled_at: Micros = -1  # the wheel's own: what was asked for last, -1 for nothing
        self.entry_at: i64 = -1  # the wheel's own: the tick at which it looks at us for that
        self.parked_at: i64 = -1  # the wheel's own: the ticks of two later entries that are still in it
        self.far_at: i64 = -1

    def on_deadline(self, now: Micros) -> None:
        """Do what is due. The wheel calls it once, at or shortly after the time that was asked for."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Poller:
    """Watches descriptors and keeps deadlines; the loop behind it is not our business."""

    def watch(self, fd: int, descriptor: Descriptor, events: i64) -> None:
        """Report readiness of fd to descriptor from now on (a second call for an fd replaces the mask)."""
        raise NotImplementedError

    def forget(self, fd: int) -> None:
        """Stop reporting fd, which the caller closes right after."""
        raise NotImplementedError

    def discard(self, sock: socket.socket) -> None:
        """Stop reporting sock, watched with EDGE, and close it once there is nothing better to do."""
        raise NotImplementedError

    def schedule(self, timed: Timed, at: Micros) -> None:
        """Call timed.on_deadline at `at` or within a tick after; an earlier call moves the deadline forward.

        A deadline that moved back needs no call: on_deadline looks at the clock and schedules again.
        """
        raise NotImplementedError

    def later(self, timed: Timed) -> None:
        """Call timed.on_deadline once, after the other descriptors had their turn."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class SocketMaker:
    """Makes every socket of the packet path, non-blocking and kept from coming back into the device."""

    def tcp(self, family: int) -> socket.socket:
        """Return a TCP socket; raises OSError when the system has none left."""
        raise NotImplementedError

    def udp(self, family: int) -> socket.socket:
        """Return a UDP socket with GRO and error reports where the kernel has them; raises OSError."""
        raise NotImplementedError

    def ping(self, family: int) -> socket.socket:
        """Return an ICMP or ICMPv6 echo socket; raises OSError, also where the system forbids them."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Neighbours:
    """The other workers, where a device has several. Frames are whole packets; what is lost is lost."""

    def hand_over(self, queue: i64, frame: bytes) -> None:
        """Have the worker of a queue process a frame. Must not block or raise."""
        raise NotImplementedError

    def offer(self, frame: bytes) -> None:
        """Have all others process a frame if it is about a flow that they know. Must not block or raise."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Abilities:
    """What is known of a way out that keeps flows from going there."""

    def __init__(self) -> None:
        self.any_tcp: bool = True  # nothing is, of any TCP flow: so it is with most, and asked for every one


@mypyc_attr(allow_interpreted_subclasses=True)
class DatagramReply:
    """The way back of one datagram: from the target that it was for to the client that sent it."""

    def send(self, payload: bytes) -> None:
        """Send payload to the client, at once or later; nothing happens once the packet path is closed."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class DatagramService:
    """Answers datagrams to one port by itself, whatever their target. They have no path and no socket."""

    def __init__(self, port: i64) -> None:
        self.port: Final = port

    def takes(self, target: bytes, target_port: i64) -> bool:
        """Tell whether datagrams to this target, whose port is ours, are answered here. Must not raise."""
        return True

    def on_datagram(
        self,
        client: bytes,
        client_port: i64,
        target: bytes,
        target_port: i64,
        payload: bytes,
        reply: DatagramReply,
    ) -> None:
        """Answer a datagram through reply, at once or later, or not at all. Must not block or raise."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Decider:
    """Says where a new flow goes."""

    def decide(self, info: FlowInfo) -> Verdict:
        """Return the verdict for a flow that has just begun. Must not block or raise."""
        raise NotImplementedError

    def constant(self) -> Verdict | None:
        """Return the verdict that every flow gets, so that nobody need ask; None where it depends.

        Whoever has asked is told when that changes (``on_new_policy`` of the tables).
        """
        return None

    def decide_sniffed(self, info: FlowInfo, data: bytes) -> Verdict | None:
        """Return the verdict for a flow of which decide said SNIFF; never SNIFF again.

        Must not block or raise.
        data is, of a stream, all that the client has said so far, of datagrams the next one. b"" says that
        nothing more will be waited for. None: more is needed.
        """
        return self.decide(info)


@mypyc_attr(allow_interpreted_subclasses=True)
class FlowWatcher:
    """Is told of flows. It numbers them, all of one run, from 1."""

    def __init__(self) -> None:
        self.begun: i64 = 0  # the last number
        self.before: i64 = 0  # the one before the first
        self.step: i64 = 1

    def count_as(self, number: i64, workers: i64, restarts: i64) -> None:
        """Number flows as one of several who number them, from 0 on, so that no two use the same number.

        number - 1 modulo workers tells whose a flow is. After each restart a range begins that has not been
        used before.
        """
        self.step = workers
        self.begun = self.before = restarts * RANGE * workers + number + 1 - workers

    def count(self) -> int:
        """Return how many flows have begun."""
        return int((self.begun - self.before) // self.step)

    def number(self) -> i64:
        """Return the number of a flow that begins."""
        self.begun += self.step
        return self.begun

    def opened(self, life: FlowLife) -> None:
        """Take note that a flow's way is open. Must not block or raise."""
        raise NotImplementedError

    def closed(self, life: FlowLife) -> None:
        """Take note that a flow is over, or never opened; life changes no more. Must not block or raise."""
        raise NotImplementedError

    def tap(self, info: FlowInfo) -> Tap | None:
        """Return what looks at the octets of a flow that has just opened. Must not block or raise."""
        return None


@mypyc_attr(allow_interpreted_subclasses=True)
class FlowGuard:
    """Looks at flows that are about to go to a proxy, which may be one whose flows come back to us."""

    def admits(self, info: FlowInfo, verdict: Verdict) -> bool:
        """Tell whether a flow may go where its verdict says, CONVERSE or OPEN. Must not block or raise."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class OpenRequest:
    """A flow that waits for somebody to open its upstream. Of opened and failed one is called, once."""

    def decided(self, verdict: Verdict) -> None:
        """Say which way is tried, of a flow about which that was still to be decided, before it is."""

    def opened(self, sock: socket.socket, rest: bytes = b"", codec: Codec | None = None) -> None:
        """Hand over a connected, non-blocking socket, which the flow owns from now on.

        rest are octets of the target, in the clear, that have been read from it; where there is a codec,
        everything else on the socket goes through it.
        """
        raise NotImplementedError

    def failed(self, error: int) -> None:
        """Say that it cannot be opened, with the errno that tells the client why."""
        raise NotImplementedError

    def tried(self, where: str, took: Micros, failure: str) -> None:
        """Tell of an attempt, before either: where or by whom, and "" or what went wrong. For people."""


@mypyc_attr(allow_interpreted_subclasses=True)
class DatagramRequest:
    """Datagrams that wait for a way. Of decided, opened, opened_stream and failed one is called, once.

    After opened or opened_stream, ended may be called, once.
    """

    def decided(self, verdict: Verdict) -> None:
        """Say where to go, of a flow about which that was still to be decided (``Opener.is_undecided``)."""
        raise NotImplementedError

    def opened(self, sock: socket.socket, framing: Framing, seal: Seal | None = None) -> None:
        """Hand over an open way: a connected, non-blocking UDP socket, which stays the opener's.

        With a seal, what framing says is about datagrams in the clear.
        """
        raise NotImplementedError

    def opened_stream(
        self, sock: socket.socket, framing: StreamFraming, rest: bytes = b"", codec: Codec | None = None
    ) -> None:
        """Hand over an open way to one target (``Opener.is_per_target``): a connected, non-blocking stream.

        It stays the opener's. rest are octets, in the clear, that have been read from it; where there is
        a codec, everything else on the socket goes through it.
        """
        raise NotImplementedError

    def failed(self, error: int) -> None:
        """Say that there is no way, with the errno that tells the client why."""
        raise NotImplementedError

    def ended(self) -> None:
        """Say that the way is over; its socket is closed right after."""
        raise NotImplementedError

    def tried(self, where: str, took: Micros, failure: str) -> None:
        """Tell of an attempt, before any of these; as ``OpenRequest.tried``."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Opener:
    """Opens upstreams that need a conversation first, outside the packet path."""

    def open(self, info: FlowInfo, verdict: Verdict, request: OpenRequest) -> None:
        """Begin to open; answer through request, later or at once. Must not block or raise."""
        raise NotImplementedError

    def cancel(self, request: OpenRequest) -> None:
        """Forget request: its client has gone. Neither method of it is called after this."""
        raise NotImplementedError

    def is_undecided(self, verdict: Verdict) -> bool:
        """Tell whether what this verdict's opener finds out is another verdict, for datagrams."""
        return False

    def is_per_target(self, verdict: Verdict) -> bool:
        """Tell whether a way that this verdict's opener opens leads to one target only."""
        return False

    def open_datagrams(self, info: FlowInfo, verdict: Verdict, request: DatagramRequest) -> None:
        """Begin to open a way for the datagrams of a client's port to all targets of one family, or to one.

        info is the flow that began it. Answer through request, later or at once. Must not block or raise.
        """
        raise NotImplementedError

    def close_datagrams(self, request: DatagramRequest) -> None:
        """Close request's way, or stop opening it: no method of request is called after this."""
        raise NotImplementedError

    def converse(self, info: FlowInfo, verdict: Verdict) -> Conversation:
        """Return the conversation that a verdict of kind CONVERSE asks for; raises whatever went wrong."""
        raise NotImplementedError

    def explain(self, info: FlowInfo, verdict: Verdict, error: BaseException) -> int:
        """Tell people why a flow could not be opened; return the errno that tells the client."""
        raise NotImplementedError

    def unreached(self, info: FlowInfo, verdict: Verdict, error: int) -> int:
        """Take note that the proxy of a CONVERSE verdict was not reached; return the errno for the client."""
        return error

    def on_trouble(self, info: FlowInfo, verdict: Verdict, why: str) -> None:
        """Tell people what is wrong with an open way for datagrams, which info began. Must not raise."""

    def on_spoiled(self, upstream: str, error: BaseException) -> None:
        """Tell people why a codec gave a flow up."""
        raise NotImplementedError
