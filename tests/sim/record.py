"""Records the kernel's TCP talking to our engine: ``python -m tests.sim.record [name ...]``, as root.

    kernel's application ─ kernel's TCP ─ TUN device ─ Link ─▶ our engine, our application
           in a network namespace of its own         ◀─ Link ─

The engine, its application and the links are the simulator's; only the clock is real. Every packet that
reaches the engine goes into ``recorded/NAME.pcap``.
"""

import hashlib
import os
import platform
import select
import socket
import struct
import sys
import threading
import time
from pathlib import Path

from tests.sim.conversations import ALL, CONTENT, Conversation, Step
from tests.sim.link import Link
from tests.sim.recording import CLIENT_PORT, INDEX, SERVER_PORT, Capture, Figures, figures, our_host, save
from tests.sim.timeline import START, Timeline
from tests.system.namespace import Namespace
from tunproxy.device.tun import open_tun
from tunproxy.flow.counters import Counters
from tunproxy.loop.dataplane import DeviceSink
from tunproxy.loop.device_reader import DeviceReader
from tunproxy.tcp.connection import CLOSE_NAMES
from tunproxy.tcp.state import CLOSED

LONGEST = 60.0
QUIET = 0.3  # seconds after the end in which the kernel may still send something
ADDRESSES = {False: ("10.0.0.2", "192.0.2.1"), True: ("fd00::2", "2001:db8::1")}


class KernelApp(threading.Thread):
    """The kernel's application, which has its own thread because it blocks."""

    def __init__(self, namespace: Namespace, conversation: Conversation) -> None:
        super().__init__(daemon=True)
        self.sent = 0
        self.digest = hashlib.sha256()
        self.is_ready = threading.Event()
        self._namespace = namespace
        self._conversation = conversation

    def run(self) -> None:
        conversation = self._conversation
        ours, theirs = ADDRESSES[conversation.ipv6]
        family = socket.AF_INET6 if conversation.ipv6 else socket.AF_INET
        sock = self._namespace.make_socket(family, timeout=LONGEST)
        for step in conversation.early:
            self._do(sock, step)
        if conversation.kernel_listens:
            sock.bind((ours, SERVER_PORT))
            sock.listen()
            self.is_ready.set()
            listener, (sock, _) = sock, sock.accept()
            listener.close()
        else:
            self.is_ready.set()
            sock.bind((ours, CLIENT_PORT))
            try:
                sock.connect((theirs, SERVER_PORT))
            except ConnectionRefusedError:
                return
        with sock:
            try:
                for step in conversation.kernel:
                    self._do(sock, step)
            except ConnectionError:
                pass

    def _do(self, sock: socket.socket, step: Step) -> None:
        what, *amounts = step
        if what in ("send", "urgent"):
            octets = CONTENT[self.sent : self.sent + int(amounts[0])]
            if what == "urgent":
                sock.send(octets, socket.MSG_OOB)
            else:
                sock.sendall(octets)
            self.sent += len(octets)
            self.digest.update(octets)
        elif what == "receive":
            left = int(amounts[0])
            while left:
                left -= len(sock.recv(left)) or left
        elif what == "read":
            while sock.recv(65536):
                pass
        elif what == "wait":
            time.sleep(float(amounts[0]))
        elif what == "end":
            sock.shutdown(socket.SHUT_WR)
        elif what == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        elif what == "close":
            sock.close()
        elif what == "option":
            name, value = str(amounts[0]), int(amounts[1])
            level = socket.SOL_SOCKET if name.startswith("SO_") else socket.IPPROTO_TCP
            sock.setsockopt(level, getattr(socket, name), value)


class Live(Timeline):
    """A timeline on which the real clock stands, with a kernel at the other end."""

    def __init__(self, name: str, conversation: Conversation) -> None:
        super().__init__()
        self._name = name
        self._conversation = conversation
        self._namespace = Namespace("record")
        self._capture = Capture(name)
        self._refused = 0
        self._began = 0.0
        with self._namespace.entered():
            self._device = open_tun("rec0")
        self._reader = DeviceReader(self._device.fd)
        self._sink = DeviceSink(self._device.fd, Counters())
        self._configure()
        self._host = our_host(self, conversation)
        self._host.link = Link(conversation.down, conversation.seed * 2, self._to_kernel)
        self._up = Link(conversation.up, conversation.seed * 2 + 1, self._to_us)

    def _configure(self) -> None:
        namespace, conversation = self._namespace, self._conversation
        for name, value in conversation.sysctls.items():
            namespace.sysctl(f"net/ipv4/{name}", value)
        namespace.ip("link", "set", "rec0", "mtu", str(conversation.mtu), "up")
        namespace.ip("address", "add", "10.0.0.2/32", "dev", "rec0")
        namespace.ip("route", "add", "default", "dev", "rec0")
        if conversation.ipv6:
            namespace.ip("address", "add", "fd00::2/128", "dev", "rec0", "nodad")
            namespace.ip("-6", "route", "add", "default", "dev", "rec0")

    def _to_kernel(self, frame: bytes, at: int) -> None:
        self.at(at, lambda now: self._sink.write(frame))

    def _to_us(self, frame: bytes, at: int) -> None:
        def arrive(now: int) -> None:
            self._capture.add(now, frame)
            self._host.on_arrival(frame)

        self.at(at, arrive)

    def note(self, side: int, frame: bytes) -> None:
        super().note(side, frame)
        if self.outcome.frames == 1:
            self._capture.add(self.now, frame)

    def on_refused(self, frame: bytes, reason: int) -> None:
        self._refused += 1

    def title(self) -> list[str]:
        return [f"conversation {self._name}"]

    def record(self) -> Figures:
        """Hold the conversation."""
        try:
            return self._record()
        finally:
            self._capture.close()
            self._device.close()
            self._namespace.delete()

    def _record(self) -> Figures:
        kernel = KernelApp(self._namespace, self._conversation)
        kernel.start()
        kernel.is_ready.wait()
        self._began = time.monotonic()
        if self._conversation.kernel_listens:
            self.at(START, self._host.open)
        over_at = 0.0
        while not over_at or time.monotonic() < over_at:
            if time.monotonic() - self._began > LONGEST:
                raise self.broken("it takes too long")
            self._turn()
            conn = self._host.conn
            if not over_at and conn is not None and conn.state == CLOSED and not kernel.is_alive():
                over_at = time.monotonic() + QUIET
        assert conn is not None
        app = self._host.app
        return Figures(
            kernel.sent,
            kernel.digest.hexdigest(),
            app.received if app is not None else 0,
            CLOSE_NAMES[conn.closed_why],
            self._refused,
            platform.release().partition("-")[0],
        )

    def _turn(self) -> None:
        """Wait for a frame or an event, and let happen what is due."""
        wait = 0.01
        if self.events:
            wait = min(max((self.events[0][0] - self._real_now()) / 1e6, 0), wait)
        select.select([self._device.fd], [], [], wait)
        while (frame := self._reader.read()) is not None:
            is_ipv6 = frame[10] >> 4 == 6
            if frame[10 + (6 if is_ipv6 else 9)] == socket.IPPROTO_TCP:
                self._up.send(frame, self._real_now())
        now = self._real_now()
        while self.events and self.events[0][0] <= now:
            self.step(now)

    def _real_now(self) -> int:
        return START + int((time.monotonic() - self._began) * 1e6)


def main(names: list[str]) -> None:
    found = figures() if INDEX.exists() else {}
    for name in names or list(ALL):
        found[name] = Live(name, ALL[name]).record()
        size = Path(INDEX.parent, f"{name}.pcap").stat().st_size
        print(f"{name}: {size} octets, {found[name]}")
    save({name: found[name] for name in ALL if name in found})


if __name__ == "__main__":
    if os.geteuid():
        sys.exit("cannot record: needs CAP_NET_ADMIN to make a network namespace (run as root)")
    main(sys.argv[1:])
