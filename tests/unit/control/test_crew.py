"""The workers of one run, whose packet path is played."""

import asyncio
import json
import os
import resource
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.control import crew as crew_module
from tunproxy.control.crew import MOST_DEATHS, Crew
from tunproxy.control.device_queues import BY_PORT
from tunproxy.control.process import SIGNALS, Identity
from tunproxy.control.questions import answer_on
from tunproxy.control.worker_settings import WorkerSettings
from tunproxy.device.tun import open_queues
from tunproxy.errors import UpstreamError
from tunproxy.host.privileges import SocketNeeds

pytestmark = needs_namespaces

Serve = Callable[..., None]


def serve(settings: WorkerSettings, *, stop_fd: int = -1, on_ready: Callable[[str], None]) -> None:
    """Play a worker that answers who it is, until it is told to stop."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        who = {"pid": os.getpid(), "number": settings.number, "restarts": settings.restarts}
        held = [
            os.readlink(f"/proc/self/fd/{fd}")
            for fd in range(3, 200)
            if os.path.lexists(f"/proc/self/fd/{fd}")
        ]
        assert settings.questions is not None
        answer_on(loop, settings.questions, {"who": lambda: who, "held": lambda: {"held": held}})
        on_ready("serving")
        await stop.wait()

    asyncio.run(run())


def with_crew(
    talk: Callable[[Crew, "asyncio.Future[str]"], Awaitable[object]], play: Serve = serve, count: int = 2
) -> None:
    """Let talk see a crew at work, in namespaces of its own."""

    async def work(crew: Crew) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, crew.on_child)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        async with crew.working() as lost, asyncio.timeout(30):
            await talk(crew, lost)

    def check() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        devices = open_queues("crew0", count)
        settings = WorkerSettings(device=devices[0])
        crew = Crew(devices, settings, Identity(61_000, 61_000, SocketNeeds()), serve=play, steering=BY_PORT)
        line = crew.start()
        assert line == ("serving" if count == 1 else f"serving, {count} workers: packets {BY_PORT}")
        try:
            asyncio.run(work(crew))
        finally:
            crew.stop()
        assert not children()

    isolated(check)


def children() -> list[int]:
    with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children") as file:
        return [int(each) for each in file.read().split()]


async def who(crew: Crew, number: int) -> dict[str, Any]:
    return await crew.questions[number].ask("who", patience=20)


async def replaced(crew: Crew, number: int, restarts: int) -> dict[str, Any]:
    """Return who has a place after so many restarts."""
    while crew.story()[number]["restarts"] != restarts:
        await asyncio.sleep(0.01)
    return await crew.questions[number].ask("who", patience=20)


def test_killed_worker_is_replaced_and_the_others_are_not() -> None:
    async def talk(crew: Crew, lost: "asyncio.Future[str]") -> None:
        first, other = await who(crew, 0), await who(crew, 1)
        os.kill(first["pid"], signal.SIGKILL)
        fresh = await replaced(crew, 0, 1)
        assert (fresh["number"], fresh["restarts"]) == (0, 1)
        assert fresh["pid"] not in (first["pid"], other["pid"])
        assert await who(crew, 1) == other
        assert crew.story()[0] == {"number": 0, "restarts": 1, "last_end": "killed by signal 9"}
        assert crew.problems() == ["worker 0 was replaced once; the last one was killed by signal 9"]
        assert not lost.done()

    with_crew(talk)


def test_replacement_has_nothing_of_the_supervisors_but_what_it_is_given() -> None:
    """It is forked in the midst of the supervisor's work, whose sockets and epoll are not its own."""

    async def talk(crew: Crew, lost: "asyncio.Future[str]") -> None:
        reading, writing = os.pipe()
        for number in (0, 1):
            os.kill((await who(crew, number))["pid"], signal.SIGKILL)
            await replaced(crew, number, 1)
            held = (await crew.questions[number].ask("held", patience=20))["held"]
            assert held.count("/dev/net/tun") == 1
            assert sum(each.startswith("pipe:") for each in held) == 0
            assert sum("eventpoll" in each for each in held) == 1  # its own
        os.close(reading)
        os.close(writing)

    with_crew(talk)


def test_signal_for_a_replacement_is_not_taken_for_one_of_ours() -> None:
    async def talk(crew: Crew, lost: "asyncio.Future[str]") -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lost.set_result, "we were told to stop")
        os.kill((await who(crew, 0))["pid"], signal.SIGKILL)
        fresh = await replaced(crew, 0, 1)
        os.kill(fresh["pid"], signal.SIGTERM)
        await replaced(crew, 0, 2)
        assert crew.story()[0]["last_end"] == "exit code 0"
        assert not lost.done()

    with_crew(talk)


def test_worker_that_dies_again_and_again_is_given_up() -> None:
    async def talk(crew: Crew, lost: "asyncio.Future[str]") -> None:
        for restarts in range(MOST_DEATHS):
            os.kill((await replaced(crew, 1, restarts))["pid"], signal.SIGKILL)
        assert await lost == "killed by signal 9, for the 5th time within 60 s"
        assert crew.story()[0]["restarts"] == 0

    with_crew(talk)


def test_worker_that_cannot_start_again_counts_as_dead() -> None:
    def once(settings: WorkerSettings, *, stop_fd: int = -1, on_ready: Callable[[str], None]) -> None:
        if settings.restarts:
            raise UpstreamError("no way out")
        serve(settings, on_ready=on_ready)

    async def talk(crew: Crew, lost: "asyncio.Future[str]") -> None:
        os.kill((await who(crew, 0))["pid"], signal.SIGKILL)
        assert await lost == "no way out, for the 5th time within 60 s"

    with_crew(talk, once)


def test_no_descriptor_for_another_one_is_the_end() -> None:
    """Else the device would stay, and nobody would read it."""

    async def talk(crew: Crew, lost: "asyncio.Future[str]") -> None:
        pid = (await who(crew, 0))["pid"]
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
        os.kill(pid, signal.SIGKILL)
        assert await lost == "killed by signal 9, and another one cannot be started: too many open files"
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    with_crew(talk)


def test_deaths_long_ago_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew_module, "DEATHS_SECONDS", 0.0)

    async def talk(crew: Crew, lost: "asyncio.Future[str]") -> None:
        for restarts in range(MOST_DEATHS + 1):
            os.kill((await replaced(crew, 0, restarts))["pid"], signal.SIGKILL)
        await replaced(crew, 0, MOST_DEATHS + 1)
        assert not lost.done()

    with_crew(talk, count=1)


def test_device_that_somebody_deleted_is_the_end() -> None:
    async def talk(crew: Crew, lost: "asyncio.Future[str]") -> None:
        pid = (await who(crew, 0))["pid"]
        for device in (member.device for member in crew._members):
            os.close(device.fd)
            device.fd = os.open(os.devnull, os.O_RDWR)
        os.kill(pid, signal.SIGKILL)
        assert await lost == "killed by signal 9"

    with_crew(talk)


def test_replacement_begins_with_the_policy_in_force() -> None:
    def play(settings: WorkerSettings, *, stop_fd: int = -1, on_ready: Callable[[str], None]) -> None:
        on_ready("serving")
        if settings.restarts:
            assert settings.questions is not None
            settings.questions.setblocking(True)
            number = json.loads(settings.questions.recv(1000))["id"]
            answer = {"generation": settings.generation, "sources": str(settings.sources)}
            settings.questions.send(json.dumps({"id": number, "answer": answer}).encode())
        time.sleep(30)

    async def talk(crew: Crew, lost: "asyncio.Future[str]") -> None:
        told: list[tuple[int, str, bool]] = []

        def died(place: int, how: str, was_killed: bool) -> None:
            told.append((place, how, was_killed))
            crew.renew("new", 7)  # type: ignore[arg-type]

        crew.renew("newer", 8)  # type: ignore[arg-type]
        crew.died = died  # who is told may still have it begin with something else
        os.kill(children()[0], signal.SIGKILL)
        # It has only been forked by then.
        assert await replaced(crew, 0, 1) == {"generation": 7, "sources": "new"}
        assert told == [(0, "killed by signal 9", True)]

    with_crew(talk, play, count=1)
