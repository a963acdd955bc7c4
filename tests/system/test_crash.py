"""``kill -9`` of supervisor, workers or both, at many points of a life: the network works within a second.

A cell of the matrix is a point and who is killed there. Several desktops, each as in ``hostlab``, play cells
at once:

    note the state ─▶ up ─▶ kill at the point ─▶ within a second a fetch works, nothing is left but
    harmless rules ─▶ the next `up` carries packets and leaves nothing when it stops, or `rescue` does

With the kill switch nothing may leave after that, until the next one carries packets, or `rescue` undoes it.
Where only workers are killed, tunproxy may also go on with new ones: then they carry packets.
"""

import concurrent.futures
import contextlib
import os
import queue
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import kill_at
from tests.system.crash import BOTH, HOLD, WITHIN, WORKER, Desktop
from tests.system.crash_points import HELD_POINTS, POINTS, Point, struck
from tests.system.hostlab import eventually
from tests.system.nursery import Nursery, Run
from tests.system.stopwatch import Stopwatch, within

pytestmark = pytest.mark.timeout(110)

DESKTOPS = 3
CELLS = [(point, victims) for point in POINTS for victims in point.victims]
HELD_CELLS = [(point, victims) for point in HELD_POINTS for victims in point.victims]
Outcomes = dict[tuple[str, str, bool], "concurrent.futures.Future[None]"]


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    """Begin to play all cells that are asked for; the key says whether with the kill switch, too."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to make hosts for the tests")
    chosen = [
        (item.callspec.params["point"], item.callspec.params["victims"], "switch" in item.name)
        for item in request.session.items
        if isinstance(item, pytest.Function) and "outcomes" in item.fixturenames
    ]
    nursery = Nursery()
    desktops = Desktops(nursery, tmp_path_factory.mktemp("crash"))
    with concurrent.futures.ThreadPoolExecutor(DESKTOPS) as pool:
        yield {
            (str(point), victims, is_held): pool.submit(
                desktops.play, point, victims, is_held=is_held, is_rescued=number % 2 == 1
            )
            for number, (point, victims, is_held) in enumerate(chosen)
        }
        pool.shutdown(cancel_futures=True)
    desktops.close()
    nursery.close()


@pytest.fixture
def lone_desktop(tmp_path: Path) -> Iterator[Desktop]:
    if os.geteuid() != 0:
        pytest.skip("needs root, to make hosts for the tests")
    with (
        contextlib.closing(Nursery()) as nursery,
        contextlib.closing(Desktop(nursery, DESKTOPS, tmp_path)) as desktop,
    ):
        yield desktop


@pytest.mark.parametrize(("point", "victims"), CELLS, ids=str)
def test_killed(outcomes: Outcomes, point: Point, victims: str) -> None:
    outcomes[str(point), victims, False].result()


@pytest.mark.parametrize(("point", "victims"), HELD_CELLS, ids=str)
def test_killed_with_kill_switch(outcomes: Outcomes, point: Point, victims: str) -> None:
    outcomes[str(point), victims, True].result()


class Desktops:
    """Those that are free; one on which something went wrong is replaced."""

    def __init__(self, nursery: Nursery, scratch: Path) -> None:
        self._nursery = nursery
        self._scratch = scratch
        self._free: queue.SimpleQueue[Desktop] = queue.SimpleQueue()
        self._totals: dict[str, int] = {}
        for number in range(DESKTOPS):
            self._free.put(Desktop(nursery, number, scratch))

    def close(self) -> None:
        while not self._free.empty():
            self._free.get().close()

    def play(self, point: Point, victims: str, *, is_held: bool, is_rescued: bool) -> None:
        desktop = self._free.get()
        try:
            if not self._totals:
                self._totals = desktop.count_moments()
            if is_held:
                play_held(desktop, point, victims, is_rescued=is_rescued)
            else:
                play(desktop, point, victims, self._totals, is_rescued=is_rescued)
        except BaseException:
            number = int(desktop.tun.removeprefix("crash"))
            desktop.close()
            desktop = Desktop(self._nursery, number, self._scratch)
            raise
        finally:
            self._free.put(desktop)


def play(desktop: Desktop, point: Point, victims: str, totals: dict[str, int], *, is_rescued: bool) -> None:
    """Play one cell; AssertionError where something does not hold."""
    before = desktop.state()
    if point.phase == "leftovers":
        with desktop.serving("--mark", "7") as run:  # so that some of its rules are wrong for the next one
            kill_at.kill(run.pid, BOTH)
            run.wait()
        assert eventually(lambda: desktop.state_but_for_harmless_rules() == before)
    with struck(desktop, point, victims, totals) as run, Stopwatch() as since_killed:
        assert desktop.fetches(), f"nothing comes through: {run.said()}"
        if victims == WORKER:
            live_on(desktop, run)
            if point.phase == "leftovers":  # it may not have come as far as to remove them all
                desktop.rescue()
        else:
            assert run.wait() == -signal.SIGKILL
            left = max(WITHIN - since_killed.seconds(), 1)
            if not within(lambda: desktop.state_but_for_harmless_rules() == before, left):
                assert desktop.state_but_for_harmless_rules() == before
            assert desktop.fetches(), "it worked only as long as the dead one's device was there"
            assert within(lambda: not desktop.programs(), WITHIN), "there is somebody left"
            if is_rescued:
                desktop.rescue()
            else:
                start_anew(desktop)
    assert desktop.state() == before


def play_held(desktop: Desktop, point: Point, victims: str, *, is_rescued: bool) -> None:
    """Play one cell with the kill switch: from the start line to the end nothing leaves but through us."""
    before = desktop.state()
    assert desktop.fetches(10)  # the router is known then: else the first to knock wait for its address
    desktop.knock()
    so_far = desktop.sniffer.found()
    assert len({(seen.protocol, seen.family) for seen in so_far}) == 4, "the sniffer misses something"
    with struck(desktop, point, victims, {}, HOLD) as run:
        desktop.knock()
        if victims == WORKER:
            assert desktop.fetches(10, through=True), run.said()
            desktop.knock()
            assert desktop.sniffer.found() == so_far
            run.kill(signal.SIGTERM)
            assert run.wait() == 0, run.said()
        else:
            assert run.wait() == -signal.SIGKILL
            assert within(lambda: not desktop.lab.has_link(desktop.tun), WITHIN)
            desktop.knock()
            assert not desktop.fetch()
            assert desktop.sniffer.found() == so_far
            if is_rescued:
                desktop.rescue()
            else:
                start_anew(desktop, HOLD)
    assert desktop.state() == before
    assert desktop.fetches()


def live_on(desktop: Desktop, run: Run) -> None:
    """Only workers are dead: it ends, or it carries packets with others."""
    assert eventually(lambda: not run.is_running() or desktop.fetch(through=True)), run.said()
    run.kill(signal.SIGTERM)
    run.wait()
    assert "Traceback" not in run.said(), run.output
    assert desktop.fetches()


def start_anew(desktop: Desktop, *options: str) -> None:
    """The next one works, leaves nothing, and has nothing to complain about."""
    with desktop.serving(*options) as run:
        assert desktop.fetches(through=True), run.said()
        run.kill(signal.SIGTERM)
        assert run.wait() == 0, run.said()
        assert run.said().count("\n") == 1, run.output


def test_signals_cut_no_revert_short(lone_desktop: Desktop) -> None:
    """However many come, and whichever thread they come to."""
    before = lone_desktop.state()
    for _ in range(3):
        with lone_desktop.serving() as run:
            while run.is_running():
                run.kill(signal.SIGTERM)
                run.kill(signal.SIGINT)
                time.sleep(0.001)
            assert run.wait() == 0, run.said()
            assert "Traceback" not in run.said(), run.output
        assert lone_desktop.state() == before
