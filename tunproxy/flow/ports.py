"""What the packet path needs from the levels above it, declared here and passed in by whoever composes.

Each of these is a plug point: compiled code calls it, interpreted code (tests, the composition root) may
implement it.
"""

import socket
from typing import Final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.flow.verdict import FlowInfo, Verdict
from tunproxy.wire.sink import FrameSink as FrameSink

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
        self.scheduled_at: Micros = -1  # the wheel's own: when it will look at us next, -1 for not at all
        self.parked_at: Micros = -1  # the wheel's own: a later entry that is still in it

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
class Decider:
    """Says where a new flow goes."""

    def decide(self, info: FlowInfo) -> Verdict:
        """Return the verdict for a flow that has just begun. Must not block or raise."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class OpenRequest:
    """A flow that waits for somebody to open its upstream; exactly one of the two is called, once."""

    def opened(self, sock: socket.socket) -> None:
        """Hand over a connected, non-blocking socket, which the flow owns from now on."""
        raise NotImplementedError

    def failed(self, error: int) -> None:
        """Say that it cannot be opened, with the errno that tells the client why."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Opener:
    """Opens upstreams that need a conversation first, outside the packet path."""

    def open(self, info: FlowInfo, verdict: Verdict, request: OpenRequest) -> None:
        """Begin to open; answer through request, later or at once. Must not block or raise."""
        raise NotImplementedError

    def cancel(self, request: OpenRequest) -> None:
        """Forget request: its client has gone. Neither method of it is called after this."""
        raise NotImplementedError
