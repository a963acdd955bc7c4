"""The part of one worker among several on one device: what is its own, and what it hands to others."""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.flow.ports import Neighbours
from tunproxy.flow.queues import queue_of
from tunproxy.flow.tcp_table import TcpTable
from tunproxy.wire.icmp_quote import TooBig, parse_too_big
from tunproxy.wire.ip import TCP, IpView


@final
@mypyc_attr(native_class=True)
class Sharing:
    """The part of worker queue, of so many queues.

    is_steered: the kernel gives each TCP segment to the worker that queue_of names. Otherwise it gives all
    segments of a flow to one worker, and only that one knows.
    """

    def __init__(
        self, queue: i64, queues: i64, neighbours: Neighbours, tcp: TcpTable, *, is_steered: bool
    ) -> None:
        self._queue: Final = queue
        self.queues: Final = queues
        self._neighbours: Final = neighbours
        self._tcp: Final = tcp
        self._is_steered: Final = is_steered
        self._too_big: Final = TooBig()

    def is_ours(self, frame: bytes, view: IpView) -> bool:
        """Tell whether a packet, which is no TCP segment unless it came in fragments, is for this worker.

        One that is not is on its way to the others then.
        """
        if not self._is_steered:
            if view.protocol == TCP:
                if self._tcp.knows(frame, view):
                    return True
                self._neighbours.offer(frame)
                return False
            if parse_too_big(frame, view, self._too_big):
                self._neighbours.offer(frame)
                return True
        owner = queue_of(frame, view, self.queues)
        if owner == self._queue:
            return True
        self._neighbours.hand_over(owner, frame)
        return False
