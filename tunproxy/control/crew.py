"""The workers of one run: started together, each replaced when it dies, and given up when that does not help.

A worker has one queue of the device. The supervisor keeps all queues open, so that a queue outlives its
worker: what the kernel puts into it meanwhile waits for the next one, and the other queues keep their flows,
because nothing is distributed anew. When the supervisor dies, by whatever signal, the kernel kills the
workers, and the device goes with the last of them.

Where MOST_DEATHS have died within DEATHS_SECONDS in one place, nobody takes it any more: that is a fault that
comes again, and the network is better off without us.
"""

import asyncio
import contextlib
import dataclasses
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Final

from tunproxy.control.config.sources import Sources
from tunproxy.control.device_queues import BY_PORT
from tunproxy.control.letters import ask_at_length
from tunproxy.control.neighbours import inboxes
from tunproxy.control.owners import tell_owners
from tunproxy.control.process import Identity, WorkerProcess
from tunproxy.control.questions import NoAnswerError, Questions, socket_pair
from tunproxy.control.serving import Serve, warn
from tunproxy.control.worker_settings import WorkerSettings
from tunproxy.device.tun import TunDevice
from tunproxy.errors import TunproxyError
from tunproxy.host.sandbox import find_binding

# our choices
MOST_DEATHS: Final = 5
DEATHS_SECONDS: Final = 60.0
TELL_SECONDS: Final = 0.3  # for a worker to tell another what it knows; one that is busy is not waited for
PAUSE_SECONDS: Final = 0.1  # before the second replacement in a row; the first is made at once


class Member:
    """One place among the workers, and who has it now."""

    def __init__(self, number: int, device: TunDevice) -> None:
        self.number: Final = number
        self.device: Final = device
        self.restarts = 0
        self.last_end = ""  # how the one before ended, in words
        self.deaths: Final[deque[float]] = deque(maxlen=MOST_DEATHS)
        self.process: WorkerProcess | None = None
        self.owners: socket.socket | None = None  # where it asks whose a flow is
        self.stop_telling: Callable[[], None] | None = None

    def recent_deaths(self) -> int:
        """Return how many have died here lately, the last one included."""
        return sum(self.deaths[-1] - each <= DEATHS_SECONDS for each in self.deaths)


class Crew:
    """The workers of devices, which are the queues of one device. settings are those of all of them."""

    def __init__(
        self,
        devices: Sequence[TunDevice],
        settings: WorkerSettings,
        identity: Identity,
        *,
        serve: Serve,
        steering: str = "",
    ) -> None:
        """Steering says who chooses a packet's queue, in words; BY_PORT where it is our program."""
        self.steering: Final = steering
        self.settings = settings  # of who is started from now on
        self.questions: Final[list[Questions]] = []  # one for each, exchanged with its worker
        self.replaced: Callable[[int, Sources], Awaitable[None]] | None = None  # called after it was
        # called before it is: with its place, how it ended, and whether somebody has killed it
        self.died: Callable[[int, str, bool], None] | None = None
        self._inboxes: Final = inboxes(len(devices))
        self._members: Final = [Member(number, device) for number, device in enumerate(devices)]
        self._identity: Final = identity
        self._serve: Final = serve
        self._tasks: Final[dict[int, asyncio.Task[None]]] = {}
        self._starting: Final[set[int]] = set()  # places whose workers do not serve yet
        self._ended: asyncio.Future[str] | None = None

    def __len__(self) -> int:
        return len(self._members)

    def start(self) -> str | None:
        """Start all; return the first one's start-up line when all serve, None where a signal wants our end.

        SIGNALS must be blocked. Raises TunproxyError when one of them cannot serve.
        """
        if self._identity.is_confined:
            find_binding()
        for member in self._members:
            process = self._start(member)
            self.questions.append(Questions(process.questions))
        lines = [_ready(member) for member in self._members]
        words = f", {len(lines)} workers: packets {self.steering}" if len(lines) > 1 else ""
        return None if None in lines else f"{lines[0]}{words}"

    def stop(self) -> None:
        """End all, by force if it takes too long."""
        processes = [member.process for member in self._members if member.process is not None]
        for process in processes:
            process.ask_to_stop()
        for process in processes:
            process.stop()
        for member in self._members:
            if member.owners is not None:
                member.owners.close()
        for ends in self._inboxes:
            for end in ends:
                end.close()

    def renew(self, sources: Sources, generation: int) -> None:
        """Have whoever is started from now on begin with these sources, the policy of that generation."""
        self.settings = dataclasses.replace(self.settings, sources=sources, generation=generation)

    def story(self) -> list[Mapping[str, object]]:
        """Return what a worker cannot tell of itself, for ``status``."""
        return [
            {"number": each.number, "restarts": each.restarts, "last_end": each.last_end}
            for each in self._members
        ]

    def document(self) -> Mapping[str, object]:
        """Return what ``status`` shows besides."""
        given_up = [each.process.sandbox for each in self._members if each.process is not None]
        return {
            "offload": self._members[0].device.offload.describe(),
            "steering": self.steering,
            "sandbox": given_up[0] if given_up else {},
        }

    def problems(self) -> list[str]:
        """Return who was replaced, and why."""
        return [
            f"{self._name(each)} was replaced {_times(each.restarts)}; the last one was {each.last_end}"
            for each in self._members
            if each.restarts
        ]

    def serving(self, number: int) -> WorkerProcess | None:
        """Return who serves in a place, None while nobody does."""
        process = self._members[number].process
        return None if process is None or number in self._starting or process.has_ended() else process

    # while they work

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator["asyncio.Future[str]"]:
        """Replace who dies, within the context. What it gives is done when that is over, with the reason."""
        self._ended = asyncio.get_running_loop().create_future()
        for member in self._members:
            self._tell_owners(member)
        try:
            yield self._ended
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
            for member in self._members:
                if member.stop_telling is not None:
                    member.stop_telling()

    def on_child(self) -> None:
        """Look who has ended: for SIGCHLD, and within working()."""
        if self._is_over():
            return
        for member in self._members:
            process = member.process
            if process is not None and process.has_ended() and member.number not in self._tasks:
                task = asyncio.get_running_loop().create_task(self._replace(member), name="replace")
                self._tasks[member.number] = task

    async def _replace(self, member: Member) -> None:
        """Do as _try_to_replace does, and look again then: the next one may have ended as well."""
        try:
            await self._try_to_replace(member)
        except OSError as error:  # no descriptor, no memory, no process: nobody would read its queue
            why = (error.strerror or str(error)).lower()
            self._give_up(f"{member.last_end}, and another one cannot be started: {why}")
        finally:
            del self._tasks[member.number]
        self.on_child()

    async def _try_to_replace(self, member: Member) -> None:
        """Replace a worker that has ended, as often as it takes; or say that it cannot be helped."""
        while not self._is_over():
            self._bury(member)
            how = member.last_end
            if self.died is not None and member.process is not None:
                self.died(member.number, how, member.process.was_killed())
            if not member.device.is_there():
                self._give_up(how)
                return
            deaths = member.recent_deaths()
            if deaths == MOST_DEATHS:
                self._give_up(f"{how}, for the {MOST_DEATHS}th time within {DEATHS_SECONDS:g} s")
                return
            warn(f"{self._name(member)} died ({how}): another one takes its place", worker=member.number)
            await asyncio.sleep(PAUSE_SECONDS * (deaths - 1))
            await self._have_told(member.number)
            sources = self.settings.sources
            member.restarts += 1
            self._starting.add(member.number)
            process = self._start(member)
            self._tell_owners(member)
            old, self.questions[member.number] = self.questions[member.number], Questions(process.questions)
            await old.close()
            try:
                await process.ready()
            except TunproxyError as error:
                process.kill(str(error))
                continue
            self._starting.discard(member.number)
            if self.replaced is not None and sources is not None:
                await self.replaced(member.number, sources)
            return

    async def _have_told(self, number: int) -> None:
        """Have another worker tell who is about to take a place what its names are."""
        for other, asked in enumerate(self.questions):
            process = self._members[other].process
            if other == number or process is None or process.has_ended():
                continue
            with contextlib.suppress(NoAnswerError, OSError):  # TimeoutError is one
                async with asyncio.timeout(TELL_SECONDS):
                    await ask_at_length(asked, "retell", {"to": number})
                    return

    def _bury(self, member: Member) -> None:
        """Let go of what a worker that has ended leaves."""
        assert member.process is not None
        member.last_end = member.process.how_it_ended()
        member.deaths.append(time.monotonic())
        member.process.close_channel()
        if member.stop_telling is not None:
            member.stop_telling()
            member.stop_telling = None
        if member.owners is not None:
            member.owners.close()

    def _is_over(self) -> bool:
        return self._ended is None or self._ended.done()

    def _give_up(self, how: str) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(how)

    def _name(self, member: Member) -> str:
        return "the worker" if len(self._members) == 1 else f"worker {member.number}"

    def _start(self, member: Member) -> WorkerProcess:
        """Fork a worker, which keeps nothing of ours but what it is given."""
        member.owners, asking = socket_pair()
        settings = dataclasses.replace(
            self.settings,
            device=member.device,
            owners=asking,
            number=member.number,
            workers=len(self._members),
            restarts=member.restarts,
            is_steered=self.steering == BY_PORT,
            inbox=self._inboxes[member.number][0] if self._inboxes else None,
            outboxes=tuple(outbox for _, outbox in self._inboxes),
        )
        member.process = WorkerProcess(settings, self._identity, serve=self._serve, keep=settings.held())
        asking.close()
        return member.process

    def _tell_owners(self, member: Member) -> None:
        assert member.owners is not None
        member.stop_telling = tell_owners(asyncio.get_running_loop(), member.owners)


def _ready(member: Member) -> str | None:
    assert member.process is not None
    return member.process.wait_ready()


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
