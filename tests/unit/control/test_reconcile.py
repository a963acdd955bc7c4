"""What is done when the network changes, in a network namespace of the test's own."""

import asyncio
import contextlib
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.isolation import isolated, needs_namespaces
from tests.unit.host.buses import Peer, system_bus
from tests.unit.waiting import until
from tunproxy.control import reconcile
from tunproxy.control.letters import answering
from tunproxy.control.questions import Questions, answer_on, socket_pair
from tunproxy.control.reconcile import LOGIND, LOGIND_PATH, MANAGER, SLEEP, Reconciler
from tunproxy.errors import SystemChangeError
from tunproxy.host.bus import VARIABLE
from tunproxy.host.changes import Change
from tunproxy.host.links import LinkUp
from tunproxy.host.netlink import Netlink
from tunproxy.host.surroundings import Sender

pytestmark = [needs_namespaces, pytest.mark.needs("ip")]

SENDER = Sender(61_000)
QUICK = 0.01


def ip(line: str) -> None:
    subprocess.run(["ip", *line.split()], check=True, timeout=10)


def make_host() -> None:
    for line in (
        "link set lo up", "link add e0 type veth peer name e1", "link set e0 up", "link set e1 up",
        "address add 192.0.2.1/24 dev e0", "route add default via 192.0.2.254",
    ):  # fmt: skip
        ip(line)


class Part(Change):
    """Something of ours that somebody undoes as often as a test says."""

    what = "a part"

    def __init__(self, undone: int = 0, error: str = "") -> None:
        self.undone, self.error, self.looks = undone, error, 0

    def apply(self, net: Netlink) -> None:
        pass

    def mend(self, net: Netlink) -> bool:
        self.looks += 1
        if self.error:
            raise SystemChangeError(self.error)
        self.undone -= 1
        return self.undone >= 0

    def revert(self, net: Netlink) -> None:
        pass


class Worker:
    """Takes note of what it is told; it has to reset that many connections each time."""

    def __init__(self, resets: int = 0) -> None:
        self.told: list[dict[str, object]] = []
        self.resets = resets
        self.ours, self.theirs = socket_pair()
        self.questions = Questions(self.ours)

    def listen(self) -> None:
        loop = asyncio.get_running_loop()
        answer_on(loop, self.theirs, {}, {"uplink": answering(self._take)})

    def _take(self, about: object) -> dict[str, int]:
        self.told.append(json.loads(json.dumps(about)))
        return {"reset": self.resets}


@contextlib.asynccontextmanager
async def keeping(worker: Worker, *changes: Change, **options: object) -> AsyncIterator[Reconciler]:
    """Give a reconciler that has made its first pass."""
    worker.listen()
    options = {"debounce": QUICK, "repeat": 30.0, **options}
    made = Reconciler(changes, SENDER, [worker.questions], **options)  # type: ignore[arg-type]
    async with made.keeping_up():
        await until(lambda: len(worker.told) > 0 or made.problems())
        yield made


def test_worker_is_told_once_how_things_are_and_again_when_they_change(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async def check() -> None:
        worker = Worker(resets=3)
        noticed: list[int] = []
        async with keeping(worker, on_change=lambda: noticed.append(1)) as network:
            assert "192.0.2.1/32" in worker.told[0]["local"]  # type: ignore[operator]
            assert worker.told[0]["sources"] == ["192.0.2.1"]
            network.look_again()
            network.look_again()
            ip("route add 203.0.113.0/24 via 192.0.2.254")
            await asyncio.sleep(0.3)
            assert (len(worker.told), network.changes_seen, noticed) == (1, 0, [])
            ip("address add 192.0.2.9/24 dev e0")
            await until(lambda: len(worker.told) == 2)
            assert worker.told[1]["renewals"] == worker.told[0]["renewals"], "the way out is the same"
            ip("route replace default via 192.0.2.253")
            await until(lambda: len(worker.told) == 3)
            assert worker.told[2]["renewals"] == 1
            assert network.document()["network"] == {
                "ipv4": {"link": "e0", "gateway": "192.0.2.253", "source": "192.0.2.1"},
                "ipv6": None,
                "changes": 2,
                "put_back": 0,
            }
            assert network.problems() == []
            ip("route del default")
            await until(lambda: network.problems())
            assert network.problems() == ["there is no way out: this host has no default route"]
            assert len(noticed) == 3

    isolated(lambda: (make_host(), asyncio.run(check())))
    said = capfd.readouterr().err
    before, now = "e0 via 192.0.2.254 as 192.0.2.1", "e0 via 192.0.2.253 as 192.0.2.1"
    assert f"the way out is another one: {now} (before: {before})" in said
    assert "3 connections were reset: their addresses are this host's no more" in said


def test_host_without_a_way_out_is_told_of_at_the_start(capfd: pytest.CaptureFixture[str]) -> None:
    async def check() -> None:
        async with keeping(Worker()):
            pass

    isolated(lambda: asyncio.run(check()))
    told = "there is no way out: this host has no default route (programs are told so, until there is one)"
    assert capfd.readouterr().err == f"tunproxy: {told}\n"


def test_worker_that_takes_anothers_place_is_told() -> None:
    async def check() -> None:
        first, second = Worker(), Worker()
        workers = [first.questions]
        first.listen()
        second.listen()
        network = Reconciler([], SENDER, workers, debounce=QUICK)
        async with network.keeping_up():
            await until(lambda: first.told)
            workers[0] = second.questions
            network.look_again()
            await until(lambda: second.told)
            assert second.told == first.told

    isolated(lambda: (make_host(), asyncio.run(check())))


def test_what_is_undone_is_put_back_and_told(capfd: pytest.CaptureFixture[str]) -> None:
    async def check() -> None:
        part = Part(undone=1)
        async with keeping(Worker(), part) as network:
            assert network.mended == 1
            looks = part.looks
            ip("rule add pref 77 lookup 77")  # somebody does something
            await until(lambda: part.looks > looks)
            assert (network.mended, network.problems()) == (1, [])

    isolated(lambda: (make_host(), asyncio.run(check())))
    assert capfd.readouterr().err == "tunproxy: somebody else has removed a part of ours: put back\n"


def test_who_undoes_it_again_and_again_is_not_fought_at_full_speed() -> None:
    async def check() -> None:
        part = Part(undone=1000)
        async with keeping(Worker(), part) as network:
            async with asyncio.timeout(20):
                while not network.problems():
                    network.look_again()
                    await asyncio.sleep(0.02)
            for _ in range(10):
                network.look_again()
                await asyncio.sleep(0.02)
            assert part.looks == reconcile.FIGHT_MENDS
            (problem,) = network.problems()
            assert "ManageForeignRoutingPolicyRules=no" in problem

    isolated(lambda: (make_host(), asyncio.run(check())))


def test_what_cannot_be_put_back_is_told_once_and_tried_again(capfd: pytest.CaptureFixture[str]) -> None:
    async def check() -> None:
        part = Part(error="cannot mend it: no")
        async with keeping(Worker(), part) as network:
            for _ in range(3):
                looks = part.looks
                network.look_again()
                await until(lambda before=looks: part.looks > before)  # type: ignore[misc]
            assert network.problems() == ["not all that is ours can be put back: cannot mend it: no"]
            part.error = ""
            network.look_again()
            await until(lambda: not network.problems())

    isolated(lambda: (make_host(), asyncio.run(check())))
    said = capfd.readouterr().err
    assert said == "tunproxy: not all that is ours can be put back: cannot mend it: no\n"


def test_what_cannot_be_put_back_holds_up_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    async def check() -> None:
        worker, after = Worker(), Part(undone=1)
        async with keeping(worker, Part(error="cannot mend it: no"), after) as network:
            await until(lambda: network.mended == 1)
            await until(lambda: len(worker.told) == 1)
            assert network.problems() == ["not all that is ours can be put back: cannot mend it: no"]

    isolated(lambda: (make_host(), asyncio.run(check())))
    assert "somebody else has removed a part of ours: put back" in capfd.readouterr().err


def test_machine_that_has_slept_has_everything_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where logind does not say so, the clocks do."""

    async def check() -> None:
        worker = Worker()
        async with keeping(worker) as network:
            monkeypatch.setattr(reconcile, "_time_asleep", lambda: 1e6)
            network.look_again()
            await until(lambda: len(worker.told) == 2)
            assert worker.told[1]["renewals"] == 1
            network.look_again()
            await asyncio.sleep(0.1)
            assert len(worker.told) == 2

    isolated(lambda: (make_host(), asyncio.run(check())))


@pytest.mark.needs("dbus-daemon")
def test_logind_is_heard(tmp_path: Path) -> None:
    async def check(address: str) -> None:
        os.environ[VARIABLE] = address
        logind = Peer()
        await logind.appear(address, LOGIND)
        worker = Worker()
        async with keeping(worker):
            until_heard = time.monotonic() + 10
            while len(worker.told) < 2 and time.monotonic() < until_heard:  # it may not listen yet
                for is_going in (True, False):
                    await logind.signal(LOGIND_PATH, MANAGER, SLEEP, "b", is_going)
                await asyncio.sleep(0.1)
            assert worker.told[1]["renewals"] != 0
        logind.vanish()

    def run() -> None:
        make_host()
        with system_bus(tmp_path) as address:
            asyncio.run(check(address))

    isolated(run)


def test_nothing_is_put_back_after_the_end() -> None:
    async def check() -> None:
        part = Part()
        async with keeping(Worker(), part):
            pass
        looks = part.looks
        ip("rule add pref 77 lookup 77")
        await asyncio.sleep(0.1)
        assert part.looks == looks

    isolated(lambda: (make_host(), asyncio.run(check())))


@pytest.mark.parametrize("cuts", [True, False])
def test_own_packets_that_come_back_are_told(capfd: pytest.CaptureFixture[str], *, cuts: bool) -> None:
    async def check() -> None:
        worker = Worker()
        async with keeping(worker, tun="e1", cuts_loops=cuts) as network:
            assert network.problems() == []
            ip("route add default dev e1 table 9")
            ip("rule add pref 5 lookup 9")
            await until(network.problems)
            assert network.problems()[0].startswith(
                "loop: our own packets come back into e1, by a policy rule"
            )
            assert ("over IPv4 are refused" in network.problems()[0]) == cuts
            await until(lambda: len(worker.told) > 1)
            assert worker.told[-1]["loops"] == [4] * cuts
            ip("rule del pref 5")
            await until(lambda: not network.problems())
            await until(lambda: len(worker.told) > 2)
            assert worker.told[-1]["loops"] == []

    isolated(lambda: (make_host(), asyncio.run(check())))
    assert capfd.readouterr().err.count("tunproxy: loop: our own packets come back into e1") == 1


def test_what_goes_past_us_is_told_once_and_a_problem_as_long_as_it_does(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async def check() -> None:
        past: list[str] = []
        async with keeping(Worker(), going_past=lambda net: list(past)) as network:
            assert network.problems() == []
            past.append("all of it goes past us")
            for _ in range(2):
                network.look_again()
                await until(lambda: network.problems() == past)
            past.clear()
            network.look_again()
            await until(lambda: not network.problems())

    isolated(lambda: (make_host(), asyncio.run(check())))
    assert capfd.readouterr().err == "tunproxy: all of it goes past us\n"


def test_device_that_gets_another_name_is_told_until_it_has_its_own_again() -> None:
    async def check() -> None:
        async with keeping(Worker(), LinkUp("e1", 1500), missing=QUICK) as network:
            for name, problems in (("other", [reconcile.RENAMED]), ("e1", [])):
                before = "e1" if name == "other" else "other"
                ip(f"link set {before} down")
                ip(f"link set {before} name {name}")
                ip(f"link set {name} up")
                await until(lambda wanted=problems: network.problems() == wanted)  # type: ignore[misc]

    isolated(lambda: (make_host(), asyncio.run(check())))
