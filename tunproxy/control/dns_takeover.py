"""systemd-resolved asks us, as long as we answer: no file is touched.

    programs ─▶ systemd-resolved ─ all names ─▶ an address in the TUN ─▶ worker
                                 ─ names that another link claims ─▶ that link's resolvers

The link of the TUN gets one server, and the domain of all names. resolved forgets that with the link, so
there is nothing to undo when we are killed. We look again when resolved says that something has changed, when
it has started anew, and now and then: others that manage the network may reset what they do not know.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final

from tunproxy.control.beside import beside
from tunproxy.control.host_resolvers import HostResolvers
from tunproxy.control.questions import NoAnswerError, Questions
from tunproxy.control.serving import tell
from tunproxy.host.addresses import RESOLVER_IPV4
from tunproxy.host.bus import BusError, SystemBus, connect, has_bus
from tunproxy.host.resolved import Resolved

# our choices
LOOK_SECONDS: Final = 20.0  # between two looks where nobody says that anything has changed
PAUSE_SECONDS: Final = 0.3  # at least, however much others change: nobody is fought at full speed
END_SECONDS: Final = 2.0  # for what is put back at the end
OFTEN: Final = 5  # times that somebody has reset our link, before it is worth telling

RUNTIME: Final = Path("/run/systemd/resolve")  # there as long as resolved runs

ENDING: Final = ("NoReply", "NameHasNoOwner", "ServiceUnknown")  # errors of somebody who has just ended

MOST_TOLD: Final = 3  # links, and domains of each, that a sentence has room for

# what ``state`` can be
TAKEN: Final = "taken"
NO_BUS: Final = "no-bus"
ABSENT: Final = "absent"
NOT_WANTED: Final = "not-wanted"
REFUSED: Final = "refused"

_log: Final = logging.getLogger(__name__)


class DnsTakeover:
    """Keeps resolved asking us while ``holding`` lasts.

    workers answer port 53, or do not: what they say decides. resolvers are looked at in the same breath.
    Where why_not says why, resolved is left alone, and only looked at. on_answering is called when the
    workers answer, and did not before.
    """

    def __init__(
        self,
        tun: str,
        workers: Sequence[Questions],
        *,
        resolvers: HostResolvers,
        why_not: str = "",
        on_answering: Callable[[], None] = lambda: None,
        server: str = RESOLVER_IPV4,
    ) -> None:
        self.state = NOT_WANTED
        self.is_answering = False  # the workers answer port 53, as far as we know
        self.why = ""  # of a state that is a problem
        self.rivals: tuple[str, ...] = ()  # links that take all names as well
        self.claimed: dict[str, tuple[str, ...]] = {}  # domains that other links have for themselves
        self.set_again = 0  # times that somebody had reset our link
        self._resolvers: Final = resolvers
        self._tun: Final = tun
        self._server: Final = server
        self._workers: Final = workers
        self._why_not: Final = why_not
        self._on_answering: Final = on_answering
        self._was_silent = False  # a worker has said that it answers nothing
        self._changed: Final = asyncio.Event()
        self._bus: SystemBus | None = None
        self._told = ""

    @contextlib.asynccontextmanager
    async def holding(self) -> AsyncIterator[None]:
        """Have resolved ask us within the context, as far as it can be had; never raises."""
        try:
            async with beside(self._keep(), name="resolved"):
                yield
        finally:
            with contextlib.suppress(BusError, TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    await self._release()
            if self._bus is not None:
                self._bus.close()

    def look_again(self) -> None:
        """Look soon: the network, or what we answer, may be different."""
        self._changed.set()

    async def flush(self) -> None:
        """Have resolved forget what it has in its cache, where it asks us. Never raises."""
        if self.state == TAKEN and self._bus is not None:
            with contextlib.suppress(BusError):
                await Resolved(self._bus).flush()

    def document(self) -> dict[str, object]:
        """Return what ``status`` shows."""
        return {
            "state": self.state,
            "why": self.why,
            "is_answering": self.is_answering,
            "rivals": list(self.rivals),
            "claimed": {link: list(domains) for link, domains in self.claimed.items()},
            "set_again": self.set_again,
            "resolvers": list(self._resolvers.known),
        }

    def problems(self) -> list[str]:
        """Return what somebody should look at, a sentence each."""
        found = []
        is_wanted = self.is_answering and not self._why_not
        is_out_of_reach = self.state == NO_BUS and is_wanted and RUNTIME.is_dir()
        if self.state == REFUSED or is_out_of_reach:
            why = self.why or "there is no system bus"
            found.append(f"systemd-resolved does not ask us: {why} (names it is asked for may leave past us)")
        if self.state == TAKEN and self.rivals:
            links = " and ".join(self.rivals)
            found.append(
                f"systemd-resolved asks {links} for every name as well as us (take ~. from it: "
                f"resolvectl domain {self.rivals[0]} '')"
            )
        if self.set_again >= OFTEN:
            found.append(
                f"somebody has reset what systemd-resolved knows of {self._tun} {self.set_again} times "
                "(see whether another program manages that link)"
            )
        return found

    def claims(self) -> str:
        """Return in words which names resolved asks of others all the same, "" for none."""
        if self.state != TAKEN or not self.claimed:
            return ""
        told = [
            f"{' and '.join(domains[:MOST_TOLD])} of {link or 'its own servers'}"
            for link, domains in list(self.claimed.items())[:MOST_TOLD]
        ]
        return f"systemd-resolved asks names of {', '.join(told)}"

    async def _keep(self) -> None:
        is_ending = False
        while True:
            self._changed.clear()
            try:
                await self._look()
                is_ending = False
            except BusError as error:
                if error.name in ENDING and not is_ending:  # it is about to end, or to start anew
                    is_ending = True
                    self.look_again()
                else:
                    self._refused(error)
            except Exception:  # ours, or a library's: names are asked for as before
                _log.exception("cannot look after systemd-resolved")
            await asyncio.sleep(PAUSE_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._changed.wait()

    async def _look(self) -> None:
        index = _index(self._tun)
        try:
            bus, why = await self._connected(), ""
        except BusError as error:
            bus, why = None, str(error)
        await self._resolvers.follow(bus, index)
        is_wanted = await self._is_wanted() and not self._why_not
        if bus is None:
            self._forget(NO_BUS, why)
            return
        resolved = Resolved(bus)
        if not await resolved.is_there():
            self._forget(ABSENT)
            return
        if not is_wanted:
            if self.state == TAKEN:
                await resolved.release(index)
            self._forget(NOT_WANTED, self._why_not or "names are nobody's business here")
            return
        if not await resolved.has_taken(index, self._server):
            if self.state == TAKEN:
                self.set_again += 1
            await resolved.take(index, self._server)
            _log.info("systemd-resolved asks %s on %s", self._server, self._tun)
        self.state, self.why = TAKEN, ""
        others = [link for link in await resolved.links() if link.index != index]
        self.rivals = tuple(link.name or "its own configuration" for link in others if link.takes_all)
        self.claimed = {link.name: link.domains for link in others if link.domains and not link.takes_all}
        self._tell(self.problems())

    async def _connected(self) -> SystemBus | None:
        """Return the bus, None where there is none. Raises BusError where it cannot be used."""
        if self._bus is not None and self._bus.is_connected:
            return self._bus
        self._bus = None
        if not has_bus():
            return None
        self._bus = bus = await connect()
        await Resolved(bus).watch(self.look_again)
        return bus

    async def _is_wanted(self) -> bool:
        """Tell whether queries are answered by us; as before where a worker does not say."""
        with contextlib.suppress(NoAnswerError):
            answers = [await worker.ask("names") for worker in self._workers]
            self.is_answering = all(answer.get("is_answering") is True for answer in answers)
            if self.is_answering and self._was_silent:
                self._on_answering()
            self._was_silent = not self.is_answering
        return self.is_answering

    async def _release(self) -> None:
        if self.state == TAKEN and self._bus is not None:
            self.state = NOT_WANTED
            await Resolved(self._bus).release(_index(self._tun))

    def _forget(self, state: str, why: str = "") -> None:
        """Take note that resolved does not ask us, and that this is as it should be, or cannot be helped."""
        self.state, self.why, self.rivals, self.claimed = state, why, (), {}
        self._tell(self.problems())

    def _refused(self, error: BusError) -> None:
        self.state, self.why = REFUSED, str(error)
        self._tell(self.problems())

    def _tell(self, problems: Sequence[str]) -> None:
        """Tell the user what is wrong, once."""
        text = "; ".join(problems)
        if text and text != self._told:
            tell(text)
        self._told = text


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0
