"""Keeps what ``up`` has made of the network in step with the network, which changes under it.

    netlink (links, routes, rules, firewall)  ─┐
    logind (the machine wakes up)             ─┼─▶ a pass ─▶ put back what is ours
    now and then                              ─┘         ├─▶ look around: ways out, our addresses
                                                         └─▶ tell the workers, where something is different

A pass is always the same, whatever was heard, and does nothing where nothing is different. It comes a tenth
of a second after the first of a crowd of messages, and takes place in a thread, as it waits for the kernel.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Final

from tunproxy.control.beside import beside
from tunproxy.control.questions import Questions
from tunproxy.control.serving import tell, warn
from tunproxy.control.workers_told import WorkersTold
from tunproxy.errors import SystemChangeError
from tunproxy.host.bus import BusError, SystemBus, connect, has_bus
from tunproxy.host.changes import Change
from tunproxy.host.links import LinkUp, has_link
from tunproxy.host.monitor import NETLINK_NETFILTER, NFTABLES, NetworkMonitor
from tunproxy.host.netlink import Netlink, Way
from tunproxy.host.surroundings import Sender, Surroundings, look_around

# logind(5), org.freedesktop.login1(5)
LOGIND: Final = "org.freedesktop.login1"
LOGIND_PATH: Final = "/org/freedesktop/login1"
MANAGER: Final = "org.freedesktop.login1.Manager"
SLEEP: Final = "PrepareForSleep"

# our choices
DEBOUNCE: Final = 0.1  # seconds: a link that comes up is twenty messages
REPEAT: Final = 30.0  # seconds between passes where nothing is heard: not everything has messages
FIGHT_MENDS: Final = 5  # times within FIGHT_SECONDS that somebody undoes what is ours, before we slow down
FIGHT_SECONDS: Final = 10.0
ASLEEP: Final = 1.0  # seconds that this machine must have slept for that to matter
MISSING_SECONDS: Final = 1.0  # of a device that was deleted, workers know sooner, and all ends

RENAMED: Final = (
    "somebody has given our device another name: what programs send may go past us "
    "(give it its name again, or start tunproxy anew)"
)
NO_WAY: Final = "there is no way out: this host has no default route"

_log: Final = logging.getLogger(__name__)


class Reconciler:
    """Puts back changes and tells workers what has become of the network, while ``keeping_up`` lasts.

    sender are the workers, whose packets must not come back into tun. Where they do, workers refuse new flows
    until they do not, if cuts_loops: where all that the host sends goes there, each flow makes another one.
    going_past returns a sentence for each way by which what should come to us does not.

    on_change is called when the way out, our addresses or the whole machine's time are not what they were.
    """

    def __init__(
        self,
        changes: Sequence[Change],
        sender: Sender,
        workers: Sequence[Questions],
        *,
        tun: str = "",
        cuts_loops: bool = False,
        going_past: Callable[[Netlink], list[str]] = lambda net: [],
        on_change: Callable[[], None] = lambda: None,
        debounce: float = DEBOUNCE,
        repeat: float = REPEAT,
        missing: float = MISSING_SECONDS,
    ) -> None:
        self.mended = 0  # passes that had to put something back
        self.changes_seen = 0  # ways or addresses that were different
        self._changes: Final = changes
        self._sender: Final = sender
        self._tun: Final = tun
        self._cuts_loops: Final = cuts_loops
        self._going_past: Final = going_past
        self._on_change: Final = on_change
        self._debounce: Final = debounce
        self._repeat: Final = repeat
        self._missing: Final = missing
        self._news: Final = asyncio.Event()
        self._known: Surroundings | None = None
        self._past: list[str] = []  # what goes past us, as of the last pass
        self._told: Final = WorkersTold(workers)
        self._renewals = 0  # how often the way out was another one, or may be
        self._mends: Final[deque[float]] = deque(maxlen=FIGHT_MENDS)
        self._complaint = ""
        self._is_missing = False  # our device, in the last pass
        self._slept = _time_asleep()

    @contextlib.asynccontextmanager
    async def keeping_up(self) -> AsyncIterator[None]:
        """Do it within the context; without messages from the kernel only now and then. Never raises."""
        loop = asyncio.get_running_loop()
        monitors: list[NetworkMonitor] = []
        try:
            monitors.append(NetworkMonitor())
            if any(change.is_of_firewall for change in self._changes):
                monitors.append(NetworkMonitor(NETLINK_NETFILTER, (NFTABLES,)))
        except SystemChangeError as error:
            warn(f"{error}: looked at every {self._repeat:g} s")
        for monitor in monitors:
            loop.add_reader(monitor.fileno(), self._on_news, monitor)
        pool = ThreadPoolExecutor(1, "network")
        works = (self._keep(pool), self._told.keep_telling(), self._hear_of_sleep())
        try:
            async with beside(*works, name="network"):
                yield
        finally:
            pool.shutdown(wait=True, cancel_futures=True)  # nothing may be put back after this
            for monitor in monitors:
                loop.remove_reader(monitor.fileno())
                monitor.close()

    def look_again(self) -> None:
        """Make a pass soon: something may be different."""
        self._news.set()

    def document(self) -> dict[str, object]:
        """Return what ``status`` shows."""
        known = self._known
        network = {
            "ipv4": _shown(known.ipv4) if known is not None else None,
            "ipv6": _shown(known.ipv6) if known is not None else None,
            "changes": self.changes_seen,
            "put_back": self.mended,
        }
        return {"network": network}

    def problems(self) -> list[str]:
        """Return what somebody should look at, a sentence each."""
        found = [self._complaint] if self._complaint else []
        if self._known is not None and _has_no_way(self._known):
            found.append(NO_WAY)
        if self._known is not None and self._loops(self._known):
            found.append(self._loop_in_words(self._known))
        found += self._past
        if self._is_fight():
            found.append(
                f"somebody has removed our routes or rules {self.mended} times (systemd-networkd: "
                "set ManageForeignRoutingPolicyRules=no and ManageForeignRoutes=no)"
            )
        return found

    # hearing

    def _on_news(self, monitor: NetworkMonitor) -> None:
        if monitor.take():
            self._news.set()

    async def _hear_of_sleep(self) -> None:
        """Make a pass when the machine wakes up, where logind says so."""
        if not has_bus():
            return
        bus: SystemBus | None = None
        try:
            bus = await connect()
            await bus.watch_signal(LOGIND, LOGIND_PATH, MANAGER, SLEEP, self._on_sleep)
            await asyncio.get_running_loop().create_future()  # until we are cancelled
        except BusError as error:
            _log.info("it will not be heard that the machine wakes up: %s", error)
        finally:
            if bus is not None:
                bus.close()

    def _on_sleep(self, arguments: Sequence[object]) -> None:
        if list(arguments) == [False]:  # awake again
            self._renewals += 1
            self._news.set()

    # passes

    def _has_device(self) -> bool:
        return all(has_link(each.name) for each in self._changes if isinstance(each, LinkUp))

    async def _keep(self, pool: ThreadPoolExecutor) -> None:
        while True:
            self._news.clear()
            await self._pass(pool)
            await asyncio.sleep(FIGHT_SECONDS if self._is_fight() else self._debounce)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._repeat):
                    await self._news.wait()
                    await asyncio.sleep(self._debounce)  # for the rest of the crowd

    async def _pass(self, pool: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        try:
            mended, failures, found, past = await loop.run_in_executor(pool, self._look)
        except SystemChangeError as error:
            self._on_failure(f"the network cannot be looked after: {error}")
            return
        except Exception:  # ours, or the library's: the rest goes on
            _log.exception("the network cannot be looked after")
            return
        if failures:
            self._on_failure(f"not all that is ours can be put back: {failures[0]}")
            if self._is_missing:
                return
        else:
            self._is_missing = False
            self._complain("")
        if mended:
            self.mended += 1
            self._mends.append(time.monotonic())
            warn(f"somebody else has removed {' and '.join(mended)} of ours: put back")
        for each in past:
            if each not in self._past:
                warn(each)
        self._past = past
        self._take_note(found)
        sources = [way.source for way in (found.ipv4, found.ipv6) if way is not None and way.source]
        about = {"local": sorted(map(str, found.local)), "sources": sources, "renewals": self._renewals}
        self._told.say({**about, "loops": self._loops(found) if self._cuts_loops else []})

    def _on_failure(self, complaint: str) -> None:
        """Complain; but where our device is missing, that is what matters."""
        if self._has_device():
            self._is_missing = False
            self._complain(complaint)
        elif self._is_missing:  # whoever reads it still does
            self._complain(RENAMED)
        else:  # it was deleted, as a rule: whoever reads it says so
            self._is_missing = True
            asyncio.get_running_loop().call_later(self._missing, self.look_again)

    def _look(self) -> tuple[list[str], list[str], Surroundings, list[str]]:
        """Put back what is ours, and look around; in the thread. Raises SystemChangeError.

        What cannot be put back is told, and holds up nothing else: an address where IPv6 was disabled, say.
        """
        mended: list[str] = []
        failures: list[str] = []
        with Netlink() as net:
            for change in self._changes:
                try:
                    if change.mend(net):
                        mended.append(change.what)
                except SystemChangeError as error:
                    failures.append(str(error))
            found = look_around(net, self._sender)
            return list(dict.fromkeys(mended)), failures, found, self._going_past(net)

    def _take_note(self, found: Surroundings) -> None:
        known, self._known = self._known, found
        slept, self._slept = self._slept, _time_asleep()
        has_slept = self._slept - slept > ASLEEP
        if has_slept:
            self._renewals += 1
        if self._loops(found) and (known is None or self._loops(known) != self._loops(found)):
            warn(self._loop_in_words(found))
        if known is None and _has_no_way(found):
            tell(f"{NO_WAY} (programs are told so, until there is one)")
        if known is None or (known == found and not has_slept):
            return
        self.changes_seen += 1
        if (known.ipv4, known.ipv6) != (found.ipv4, found.ipv6):
            self._renewals += 1
            tell(f"the way out is another one: {_in_words(found)} (before: {_in_words(known)})")
        self._on_change()

    def _loops(self, found: Surroundings) -> list[int]:
        """Return the versions of IP over which our own packets come back to us."""
        ways = ((4, found.ipv4), (6, found.ipv6))
        return [version for version, way in ways if way is not None and way.link == self._tun]

    def _loop_in_words(self, found: Surroundings) -> str:
        words = (
            f"loop: our own packets come back into {self._tun}, by a policy rule before ours (see: ip rule)"
        )
        if not self._cuts_loops:
            return words
        by = " and ".join(f"IPv{version}" for version in self._loops(found))
        return f"{words}; new flows over {by} are refused until they do not"

    def _is_fight(self) -> bool:
        mends = self._mends
        return len(mends) == FIGHT_MENDS and time.monotonic() - mends[0] <= FIGHT_SECONDS * 2

    def _complain(self, complaint: str) -> None:
        if complaint and complaint != self._complaint:
            warn(complaint)
        self._complaint = complaint


def _has_no_way(found: Surroundings) -> bool:
    return found.ipv4 is None and found.ipv6 is None


def _shown(way: Way | None) -> dict[str, str] | None:
    return None if way is None else asdict(way)


def _in_words(found: Surroundings) -> str:
    """Return the ways out for people."""
    ways = []
    for way in (found.ipv4, found.ipv6):
        if way is not None:
            by = f"{way.link} via {way.gateway}" if way.gateway else way.link
            ways.append(f"{by} as {way.source}" if way.source else by)
    return " and ".join(ways) or "none"


def _time_asleep() -> float:
    """Return for how many seconds this machine has slept since it was started (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
