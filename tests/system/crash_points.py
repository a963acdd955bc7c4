"""The points of tunproxy's life at which it is killed; each is waited for by what is seen, never by time."""

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tests.system import kill_at
from tests.system.crash import BOTH, SUPERVISOR, WORKER, Desktop
from tests.system.hostlab import WORLD_IPV4, WORLD_IPV6
from tests.system.nursery import Run
from tests.system.peers import Task, receive_exactly

AHEAD = 4 << 20  # octets of a transfer before it is cut
FLOWS = 50
CHANCES = 3  # for the killer to be there before who ends by himself


@dataclass(frozen=True)
class Point:
    """A point in one of the phases start, leftovers (a start over what a killed one left), use, reload, stop.

    what is a moment of ``kill_at``, or a thing of ``DONE`` that is done. share says which one of all
    the moments of that kind: 0 the first, 1 the last.
    """

    phase: str
    what: str
    share: float = 0.0
    victims: tuple[str, ...] = (SUPERVISOR, WORKER, BOTH)

    def __str__(self) -> str:
        which = {0.0: "first", 0.5: "half", 1.0: "last"}[self.share]
        return f"{self.phase}-{self.what}" + (
            f"-{which}" if self.what in ("route+", "rule+", "rule-") else ""
        )


ALONE = (SUPERVISOR,)  # there is no worker yet, or no more
POINTS = (
    Point("start", "link+", victims=ALONE),
    Point("start", "up", victims=ALONE),
    Point("start", "address6+", victims=ALONE),
    Point("start", "forked"),
    Point("start", "unprivileged"),
    Point("start", "route+"),
    Point("start", "rule+"),
    Point("start", "rule+", 0.5),
    Point("start", "rule+", 1.0),
    Point("start", "told"),
    Point("leftovers", "rule-"),
    Point("use", "syn"),
    Point("use", "download"),
    Point("use", "upload"),
    Point("use", "flows"),
    Point("use", "datagrams"),
    Point("reload", "asked"),
    Point("reload", "opened"),
    Point("reload", "told"),
    Point("stop", "asked"),
    Point("stop", "rule-"),
    Point("stop", "rule-", 0.5),
    Point("stop", "rule-", 1.0),
    Point("stop", "route-"),
    Point("stop", "link-", victims=ALONE),
)
HELD_POINTS = tuple(
    Point(phase, what)
    for phase, what in (
        ("start", "told"), ("use", "syn"), ("use", "download"), ("use", "datagrams"), ("reload", "opened"),
    )
)  # fmt: skip


@contextlib.contextmanager
def struck(
    desktop: Desktop, point: Point, victims: str, totals: Mapping[str, int], *options: str
) -> Iterator[Run]:
    """Start tunproxy with options, and kill at the point; yield what is left of it."""
    nth = 1 if point.phase == "leftovers" else 1 + round(point.share * (totals.get(point.what, 1) - 1))
    if point.phase in ("start", "leftovers") and point.what != "told":
        desktop.order(point.what, nth, victims, "new")
        with contextlib.closing(desktop.start(*options)) as run:
            desktop.tell_pid(run)
            assert_killed(desktop, run)
            yield run
        return
    for _ in range(CHANCES):
        with desktop.serving(*options) as run:
            if (point.phase, point.what) in DONE:
                try:
                    DONE[point.phase, point.what](desktop, run, victims)
                except TooLateError:
                    continue
            else:
                moment = f"opened {desktop.config}" if point.what == "opened" else point.what
                desktop.order(moment, nth, victims, run.pid)
                trigger = {"stop": signal.SIGTERM, "reload": signal.SIGHUP}.get(point.phase)
                if trigger is None:
                    threading.Thread(target=desktop.fetch, daemon=True).start()
                else:
                    run.kill(trigger)
                if point.phase != "stop":
                    assert_killed(desktop, run)
                elif came_too_late(desktop, run, point.what, nth, victims):
                    continue
            yield run
            return
    raise AssertionError(f"the killer came too late {CHANCES} times")


def assert_killed(desktop: Desktop, run: Run) -> None:
    """Return once the killer has killed somebody."""
    answer = desktop.seen()
    assert answer.get("killed"), f"that point was not seen: {answer}, {run.said()}"


def came_too_late(desktop: Desktop, run: Run, what: str, nth: int, victims: str) -> bool:
    """Tell, once the killer has seen its moment, whether whom it was to kill had ended by themselves."""
    answer = desktop.seen()
    assert answer.get("seen", {}).get(what) == nth, f"that point was not seen: {answer}, {run.said()}"
    return had_ended(run, victims, answer["killed"])


def had_ended(run: Run, victims: str, killed: list[int]) -> bool:
    """Tell whether one that was asked to end had done so before it was killed, as a zombie can be."""
    if killed and (victims == WORKER or run.wait() != 0):
        return False
    assert run.wait() == 0, run.said()
    return True


class TooLateError(Exception):
    """Who was to be killed had ended by himself."""


def strike(run: Run, victims: str) -> None:
    assert kill_at.kill(run.pid, victims), f"nobody was there: {run.said()}"


# what is done, and then somebody killed


def told(desktop: Desktop, run: Run, victims: str) -> None:
    """It has said that it carries packets."""
    strike(run, victims)


def download(desktop: Desktop, run: Run, victims: str) -> None:
    """A program has received a part of an endless stream."""
    _strike_amid_a_stream(desktop, run, victims, WORLD_IPV4, is_down=True)


def upload(desktop: Desktop, run: Run, victims: str) -> None:
    """The world has received a part of an endless stream."""
    _strike_amid_a_stream(desktop, run, victims, WORLD_IPV6, is_down=False)


def _strike_amid_a_stream(desktop: Desktop, run: Run, victims: str, address: str, *, is_down: bool) -> None:
    with desktop.lab.world.listen(address) as listener, desktop.lab.host.connect_to(listener) as client:
        server, _ = listener.accept()
        with server:
            sender, receiver = (server, client) if is_down else (client, server)
            sending = Task(_send_without_end, sender)
            assert len(receive_exactly(receiver, AHEAD)) == AHEAD
            strike(run, victims)
            with contextlib.suppress(OSError):
                sender.shutdown(socket.SHUT_RDWR)  # wakes it
            with contextlib.suppress(OSError):
                sending.result()


def _send_without_end(sock: socket.socket) -> None:
    while True:
        sock.sendall(bytes(1 << 16))


def flows(desktop: Desktop, run: Run, victims: str) -> None:
    """Many connections are open, and idle."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(desktop.lab.world.listen(WORLD_IPV4))
        for _ in range(FLOWS):
            stack.enter_context(desktop.lab.host.connect_to(listener))
            stack.enter_context(listener.accept()[0])
        strike(run, victims)


def datagrams(desktop: Desktop, run: Run, victims: str) -> None:
    """A name is asked for, and datagrams are under way, both families."""
    with contextlib.ExitStack() as stack:
        clients = []
        for address, mine in ((WORLD_IPV4, "0.0.0.0"), (WORLD_IPV6, "::")):
            server = stack.enter_context(desktop.lab.world.datagram(address))
            client = stack.enter_context(desktop.lab.host.datagram(mine))
            client.sendto(b"first", server.getsockname()[:2])
            assert server.recv(100) == b"first"
            clients.append((client, server.getsockname()[:2]))
        for client, target in clients:
            for _ in range(20):
                client.sendto(b"more", target)
            client.sendto(QUESTION, (target[0], 53))
        strike(run, victims)


# RFC 1035 §4.1: the addresses of host.example
QUESTION = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04host\x07example\x00\x00\x01\x00\x01"


def reload_asked(desktop: Desktop, run: Run, victims: str) -> None:
    run.kill(signal.SIGHUP)
    strike(run, victims)


def reload_told(desktop: Desktop, run: Run, victims: str) -> None:
    run.kill(signal.SIGHUP)
    run.expect("is in force")
    strike(run, victims)


def stop_asked(desktop: Desktop, run: Run, victims: str) -> None:
    run.kill(signal.SIGTERM)
    if had_ended(run, victims, kill_at.kill(run.pid, victims)):
        raise TooLateError


DONE: dict[tuple[str, str], Callable[[Desktop, Run, str], None]] = {
    ("start", "told"): told,
    ("use", "download"): download,
    ("use", "upload"): upload,
    ("use", "flows"): flows,
    ("use", "datagrams"): datagrams,
    ("reload", "asked"): reload_asked,
    ("reload", "told"): reload_told,
    ("stop", "asked"): stop_asked,
}
