"""The packet path's turn: wait, serve sockets, read a burst from the device, settle, fire timers."""

import os
import select
import socket
from collections.abc import Callable
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy import clock
from tunproxy.clock import Micros
from tunproxy.datagram.reassembly import Reassembler
from tunproxy.datagram.table import DatagramTable
from tunproxy.errors import SystemChangeError
from tunproxy.flow.counters import Counters
from tunproxy.flow.ports import READABLE, Descriptor, FrameSink, Poller, Timed
from tunproxy.flow.small_reads import LARGE
from tunproxy.flow.tcp_table import TcpTable
from tunproxy.loop.copying import Copier, DeviceTap
from tunproxy.loop.device_reader import DeviceReader
from tunproxy.loop.sharing import Sharing
from tunproxy.loop.timers import TimerWheel
from tunproxy.wire.icmp import parse_icmp
from tunproxy.wire.icmp_quote import TooBig, parse_too_big
from tunproxy.wire.ip import ICMP, ICMPV6, TCP, UDP, IpView, parse_ip
from tunproxy.wire.reasons import DEVICE_WRITE, OK, UNKNOWN_PROTOCOL
from tunproxy.wire.vnet import VNET_LEN, is_verified

os_write: Final = os.write
os_writev: Final = os.writev

# where a frame comes from: our queue, or another worker
OWN: Final[i64] = 0
HANDED_OVER: Final[i64] = 1
OFFERED: Final[i64] = 2

# our choices
MAX_BURST: Final[i64] = 64  # frames before sockets have their turn again
MAX_BURST_OCTETS: Final[i64] = 200_000  # as much as the processor's cache still has when it is passed on
MAX_EVENTS: Final = 64  # Python allocates for them with every call
MAX_DISCARDED: Final = 32  # sockets that wait for a quiet moment to be closed
MOST_ODDS: Final[i64] = 8  # how sure we can be that after one frame there is another, or none
PROMPT: Final[i64] = 5  # µs: a wait that short was no wait
PATIENCE: Final[i64] = 50  # µs to look for events before we sleep, after a wait no longer than that


@final
@mypyc_attr(native_class=True)
class DeviceSink(FrameSink):
    """Writes frames to the device's descriptor."""

    def __init__(self, fd: int, counters: Counters) -> None:
        self._fd: Final = fd
        self._counters: Final = counters
        # what a tap takes the place of (``loop.copying``)
        self.write_frame: Callable[[int, bytes], int] = os_write
        self.write_vector: Callable[[int, list[bytes | memoryview]], int] = os_writev

    def write(self, frame: bytes) -> None:
        counters = self._counters
        try:
            self.write_frame(self._fd, frame)
        except OSError:
            counters.drop(DEVICE_WRITE)
            return
        counters.frames_out += 1
        counters.bytes_out += len(frame)

    def write_parts(self, header: bytes, parts: list[bytes | memoryview]) -> None:
        counters = self._counters
        parts.insert(0, header)
        try:
            counters.bytes_out += i64(self.write_vector(self._fd, parts))
        except OSError:
            counters.drop(DEVICE_WRITE)
            return
        counters.frames_out += 1


@final
@mypyc_attr(native_class=True)
class _Nobody(Descriptor):
    """Stands for the owner of a socket that is about to be closed."""

    def on_ready(self, events: i64, now: Micros) -> None:
        pass


@final
@mypyc_attr(native_class=True)
class Dataplane(Poller):
    """Owns the epoll and drives everything that hangs on it. attach must be called before poll."""

    def __init__(self, device_fd: int, counters: Counters) -> None:
        self.counters: Final = counters
        self._device_fd: Final = device_fd
        self._device: Final = DeviceReader(device_fd)
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
        self._too_big: Final = TooBig()
        self._odds: i64 = 0  # above 0: after one frame there is probably another
        self._is_guessing: bool = False  # the burst ended before it was known
        self._nobody: Final = _Nobody()
        self._discarded: Final[list[socket.socket]] = []
        self._patience: Micros = 0
        self._moved: i64 = 0  # octets when we waited last
        self._has_neighbours: bool = len(os.sched_getaffinity(0)) > 1  # else nobody answers while we look
        self._is_yielding: bool = False
        self._sharing: Sharing | None = None
        self.sink: Final = DeviceSink(device_fd, counters)
        self._tap: DeviceTap | None = None

    def copy_to(self, copiers: list[Copier]) -> None:
        """Show every packet that passes the device to these copiers from now on, and to no others."""
        device, sink = self._device, self.sink
        tap = self._tap
        if tap is not None and len(copiers) == 0:
            self._tap = None
            device.read_frame, device.read_into = tap.real_read, tap.real_read_into
            sink.write_frame, sink.write_vector = tap.real_write, tap.real_write_parts
        elif tap is not None:
            tap.copiers = copiers
        elif len(copiers) > 0:
            tap = DeviceTap(device.read_frame, device.read_into, sink.write_frame, sink.write_vector)
            tap.copiers = copiers
            device.read_frame, device.read_into = tap.read, tap.read_into
            sink.write_frame, sink.write_vector = tap.write, tap.write_parts
            self._tap = tap

    def share(self, sharing: Sharing) -> None:
        """Hand packets that are not ours to other workers from now on."""
        self._sharing = sharing
        self._has_neighbours = len(os.sched_getaffinity(0)) > sharing.queues

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
        self._close_discarded()
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

    def discard(self, sock: socket.socket) -> None:
        self._watched[sock.fileno()] = self._nobody
        self._discarded.append(sock)

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
        before = now
        events = self._wait(self._wait_seconds(now, until), now)
        now = clock.now()
        self._patience = PATIENCE if now - before <= PATIENCE else 0
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
        if self._is_guessing:
            self._is_guessing = False
            if is_device_ready and now - before <= PROMPT:
                self._odds = min(self._odds + 1, MOST_ODDS)
            else:
                self._odds = max(self._odds - 1, -MOST_ODDS)
        if is_device_ready:
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

    def _wait(self, seconds: float, now: Micros) -> list[tuple[int, int]]:
        """Wait for events; where the last wait was short, look again and again for a while before we sleep.

        Falling asleep and being woken takes longer than a neighbour's answer. Bulk transfers gain nothing by
        it, and need the processor for those who send and receive.
        """
        if len(self._discarded) > 0:
            events = self._epoll_poll(0.0, MAX_EVENTS)
            if len(events) == 0 or len(self._discarded) >= MAX_DISCARDED:
                self._close_discarded()
            if len(events) > 0:
                return events
        moved = self.counters.bytes_in + self.counters.bytes_out
        is_bulk = moved - self._moved >= LARGE
        self._moved = moved
        if self._patience > 0 and self._has_neighbours and seconds != 0.0 and not is_bulk:
            until = now + self._patience
            while now < until:
                events = self._epoll_poll(0.0, MAX_EVENTS)
                if len(events) > 0:
                    return events
                now = clock.now()
        return self._epoll_poll(seconds, MAX_EVENTS)

    def _close_discarded(self) -> None:
        """Close what flows have let go of: the kernel then talks to the other end, which takes a while."""
        for sock in self._discarded:
            self._watched[sock.fileno()] = None  # closing takes it out of the epoll
            sock.close()
        self._discarded.clear()

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
        """Read a frame, and more where more are likely: a read in vain costs as much as a turn."""
        counters = self.counters
        full = counters.bytes_in + MAX_BURST_OCTETS
        for count in range(MAX_BURST):
            try:
                frame = self._device.read()
            except OSError as error:
                raise SystemChangeError(
                    f"lost the device: {os.strerror(error.errno or 0).lower()} (somebody deleted it)"
                ) from error
            if frame is None:
                self._odds = max(self._odds - 2, -MOST_ODDS)
                return
            if count > 0:
                self._odds = min(self._odds + 1, MOST_ODDS)
            self._on_frame(frame, now, OWN)
            if counters.bytes_in >= full:
                return
            if self._odds <= 0 and len(frame) < LARGE:
                self._is_guessing = True
                return

    def take_over(self, frame: bytes, is_offered: bool, now: Micros) -> None:
        """Process a frame from another worker, in a turn of ours; an offered one if its flow is ours."""
        if self._tap is not None:
            self._tap.show(frame, True)
        self._on_frame(frame, now, OFFERED if is_offered else HANDED_OVER)

    def _on_frame(self, frame: bytes, now: Micros, origin: i64) -> None:
        counters = self.counters
        if origin == OWN:
            counters.frames_in += 1
            counters.bytes_in += len(frame)
        view = self._view
        reason = parse_ip(frame, VNET_LEN, len(frame), view)
        if reason != OK:
            counters.drop(reason)
            return
        assert self._tcp is not None and self._datagrams is not None and self._reassembler is not None
        was_fragment = view.is_fragment
        if was_fragment:
            whole = self._reassembler.add(frame, view, now)
            if whole is None or parse_ip(whole, VNET_LEN, len(whole), view) != OK:
                return
            view.dont_fragment = False  # whoever sent it in pieces may have it sent in pieces
            frame = whole
        protocol = view.protocol
        sharing = self._sharing
        if sharing is not None:
            if origin == OWN:
                if (was_fragment or protocol != TCP) and not sharing.is_ours(frame, view):
                    return
            elif origin == OFFERED and protocol == TCP and not self._tcp.knows(frame, view):
                return
        if protocol == TCP:
            self._tcp.on_packet(frame, view, is_verified(frame), now)
        elif protocol == UDP:
            self._datagrams.on_udp(frame, view, now)
        elif protocol == ICMP or protocol == ICMPV6:
            self._on_icmp(frame, now)
        else:
            counters.drop(UNKNOWN_PROTOCOL)

    def _on_icmp(self, frame: bytes, now: Micros) -> None:
        """Process an ICMP message: a router's about a TCP packet of ours, or anything else."""
        assert self._tcp is not None and self._datagrams is not None
        view, report = self._view, self._too_big
        if parse_too_big(frame, view, report) and parse_icmp(frame, view, is_verified(frame)) == OK:
            self._tcp.on_too_big(report, now)
        else:
            self._datagrams.on_icmp(frame, view, now)
