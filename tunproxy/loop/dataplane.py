"""The packet path's turn: wait, serve sockets, read a burst from the device, settle, fire timers."""

import os
import select
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy import clock
from tunproxy.clock import Micros
from tunproxy.datagram.reassembly import Reassembler
from tunproxy.datagram.table import DatagramTable
from tunproxy.errors import SystemChangeError
from tunproxy.flow.counters import Counters
from tunproxy.flow.ports import READABLE, Descriptor, FrameSink, Poller, Timed
from tunproxy.flow.tcp_table import TcpTable
from tunproxy.loop.timers import TimerWheel
from tunproxy.wire.ip import ICMP, ICMPV6, TCP, UDP, IpView, parse_ip
from tunproxy.wire.reasons import DEVICE_WRITE, OK, UNKNOWN_PROTOCOL
from tunproxy.wire.vnet import VNET_LEN, is_verified

os_read: Final = os.read
os_write: Final = os.write
os_writev: Final = os.writev

FRAME_LEN: Final = 10 + 65536 + 40  # the largest super-packet, which IPv6 makes 40 octets longer

# our choices
MAX_BURST: Final[i64] = 64  # frames before sockets have their turn again
MAX_EVENTS: Final = 256
PROMPT: Final[i64] = 5  # µs: a wait that short was no wait, the device has been busy


@final
@mypyc_attr(native_class=True)
class DeviceSink(FrameSink):
    """Writes frames to the device's descriptor."""

    def __init__(self, fd: int, counters: Counters) -> None:
        self._fd: Final = fd
        self._counters: Final = counters

    def write(self, frame: bytes) -> None:
        counters = self._counters
        counters.frames_out += 1
        counters.bytes_out += len(frame)
        try:
            os_write(self._fd, frame)
        except OSError:
            counters.drop(DEVICE_WRITE)

    def write_parts(self, header: bytes, parts: list[bytes | memoryview]) -> None:
        counters = self._counters
        counters.frames_out += 1
        parts.insert(0, header)
        try:
            counters.bytes_out += i64(os_writev(self._fd, parts))
        except OSError:
            counters.drop(DEVICE_WRITE)


@final
@mypyc_attr(native_class=True)
class Dataplane(Poller):
    """Owns the epoll and drives everything that hangs on it. attach must be called before poll."""

    def __init__(self, device_fd: int, counters: Counters) -> None:
        self.counters: Final = counters
        self._device_fd: Final = device_fd
        self._epoll: Final = select.epoll()
        self._epoll_poll: Final = self._epoll.poll
        self._epoll_register: Final = self._epoll.register
        self._watched: list[Descriptor | None] = [None] * 64
        self._wheel: Final = TimerWheel(clock.now())
        self._later: list[Timed] = []
        self._tcp: TcpTable | None = None
        self._datagrams: DatagramTable | None = None
        self._reassembler: Reassembler | None = None
        self._view: Final = IpView()
        self._burst: i64 = 1
        self._was_full: bool = False
        self._is_yielding: bool = False

    def attach(self, tcp: TcpTable, datagrams: DatagramTable, reassembler: Reassembler) -> None:
        """Take the tables, which need this object as their poller, and begin to listen to the device."""
        self._tcp = tcp
        self._datagrams = datagrams
        self._reassembler = reassembler
        self._epoll_register(self._device_fd, READABLE)

    def close(self) -> None:
        """End all flows and close the epoll; the device belongs to the caller."""
        if self._tcp is not None:
            self._tcp.close()
        if self._datagrams is not None:
            self._datagrams.close()
        self._epoll.close()

    # what flows ask for

    def watch(self, fd: int, descriptor: Descriptor, events: i64) -> None:
        watched = self._watched
        if fd >= len(watched):
            watched.extend([None] * (fd + 1))
        if watched[fd] is None:
            self._epoll_register(fd, events)
        else:
            self._epoll.modify(fd, events)
        watched[fd] = descriptor

    def forget(self, fd: int) -> None:
        if 0 <= fd < len(self._watched):
            self._watched[fd] = None  # closing takes it out of the epoll

    def schedule(self, timed: Timed, at: Micros) -> None:
        self._wheel.schedule(timed, at)

    def later(self, timed: Timed) -> None:
        self._later.append(timed)

    # what asyncio asks for

    def register_foreign(self, fd: int, events: i64) -> None:
        """Watch a descriptor for asyncio; its events come out of poll."""
        self._epoll_register(fd, events)

    def modify_foreign(self, fd: int, events: i64) -> None:
        """Change what is watched of a descriptor of asyncio's."""
        self._epoll.modify(fd, events)

    def unregister_foreign(self, fd: int) -> None:
        """Stop watching a descriptor of asyncio's, which may be closed already."""
        try:
            self._epoll.unregister(fd)
        except OSError:
            pass  # closing took it out

    def yield_loop(self) -> None:
        """Have poll return at the end of this turn, because asyncio got something to do."""
        self._is_yielding = True

    def poll(self, timeout: Micros) -> list[tuple[int, int]]:
        """Serve the packet path until asyncio has something to do; return its events as (fd, mask).

        Returns at the latest after timeout microseconds, -1 for no limit; 0 serves one turn. Raises
        SystemChangeError when the device is gone.
        """
        now = clock.now()
        until: Micros = now + timeout if timeout >= 0 else -1
        while True:
            foreign = self._turn(now, until)
            now = clock.now()
            if len(foreign) > 0 or self._is_yielding or 0 <= until <= now:
                self._is_yielding = False
                return foreign

    def _turn(self, now: Micros, until: Micros) -> list[tuple[int, int]]:
        events = self._epoll_poll(self._wait_seconds(now, until), MAX_EVENTS)
        before = now
        now = clock.now()
        self.counters.turns += 1
        foreign: list[tuple[int, int]] = []
        is_device_ready = False
        for fd, mask in events:
            if fd == self._device_fd:
                is_device_ready = True
                continue
            descriptor = self._watched[fd] if fd < len(self._watched) else None
            if descriptor is None:
                foreign.append((fd, mask))
            else:
                descriptor.on_ready(mask, now)
        if is_device_ready:
            if self._was_full and now - before <= PROMPT:
                self._burst = min(self._burst * 2, MAX_BURST)
            self._read_burst(now)
        assert self._tcp is not None and self._datagrams is not None
        self._tcp.end_batch(now)
        self._datagrams.end_batch(now)
        self._wheel.advance(now)
        if len(self._later) > 0:
            due = self._later
            self._later = []
            for timed in due:
                timed.on_deadline(now)
        return foreign

    def _wait_seconds(self, now: Micros, until: Micros) -> float:
        if len(self._later) > 0:
            return 0.0
        next_at = self._wheel.next_at()
        if until >= 0 and (next_at < 0 or until < next_at):
            next_at = until
        if next_at < 0:
            return -1.0
        return float(max(next_at - now, 0)) / 1e6

    def _read_burst(self, now: Micros) -> None:
        """Read up to a burst of frames. Reading into the void costs an exception, so the burst adapts."""
        count: i64 = 0
        limit = self._burst
        self._was_full = True
        while count < limit:
            try:
                frame = os_read(self._device_fd, FRAME_LEN)
            except BlockingIOError:
                self.counters.empty_reads += 1
                self._burst = max(count, 1)
                self._was_full = False
                return
            except OSError as error:
                raise SystemChangeError(
                    f"lost the device: {os.strerror(error.errno or 0).lower()} (somebody deleted it)"
                ) from error
            count += 1
            self._on_frame(frame, now)

    def _on_frame(self, frame: bytes, now: Micros) -> None:
        counters = self.counters
        counters.frames_in += 1
        counters.bytes_in += len(frame)
        view = self._view
        reason = parse_ip(frame, VNET_LEN, len(frame), view)
        if reason != OK:
            counters.drop(reason)
            return
        assert self._tcp is not None and self._datagrams is not None and self._reassembler is not None
        if view.is_fragment:
            whole = self._reassembler.add(frame, view, now)
            if whole is None or parse_ip(whole, VNET_LEN, len(whole), view) != OK:
                return
            view.dont_fragment = False  # whoever sent it in pieces may have it sent in pieces
            frame = whole
        protocol = view.protocol
        if protocol == TCP:
            self._tcp.on_packet(frame, view, is_verified(frame), now)
        elif protocol == UDP:
            self._datagrams.on_udp(frame, view, now)
        elif protocol == ICMP or protocol == ICMPV6:
            self._datagrams.on_icmp(frame, view, now)
        else:
            counters.drop(UNKNOWN_PROTOCOL)
