"""The checker, on a loop whose time is a number."""

import asyncio
import gc
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tunproxy.upstream.base import Dialer, DialUpstream, OpenError, Unreached, Upstream
from tunproxy.upstream.health import AT_ONCE, HINT_SPACING, Health, Plan, Watch
from tunproxy.upstream.history import DEAD, SUSPECT, WELL
from tunproxy.upstream.probe import TEST_URL

pytestmark = pytest.mark.filterwarnings("error")


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that does not wait: where nothing is ready, time goes on to the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self.virtual = 0.0
        real = self._selector.select  # type: ignore[attr-defined]

        def select(timeout: float | None = None) -> Any:
            if timeout:
                self.virtual += timeout
            return real(0)

        self._selector.select = select  # type: ignore[attr-defined]

    def time(self) -> float:
        return self.virtual


class Network:
    """What happens in tests of upstreams: how long each takes, or what it raises; and when they were."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.takes: dict[str, float | Exception] = {}
        self.asked: list[tuple[float, str]] = []
        self.running = self.most = 0

    async def fetch(self, upstream: Upstream, url: str, dialer: Dialer, status: int) -> float:
        self.asked.append((round(self.loop.time(), 3), upstream.name))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            takes = self.takes.get(upstream.name, 0.1)
            if isinstance(takes, Exception):
                raise takes
            await asyncio.sleep(takes)
            return takes
        finally:
            self.running -= 1

    def of(self, name: str) -> list[float]:
        return [at for at, asked in self.asked if asked == name]


class Bench:
    def __init__(self, jitter: float = 0.5) -> None:
        self.loop = VirtualLoop()
        self.tests = Network(self.loop)
        self.explored: list[tuple[float, str]] = []
        self.yields = 0
        self.health = Health(
            clock=self.loop.time,
            wall_clock=self.loop.time,
            jitter=lambda: jitter,
            fetch=self.tests.fetch,
            explore=self.explore,
        )

    async def explore(self, upstream: Upstream, dialer: Dialer) -> None:
        self.explored.append((self.loop.time(), upstream.name))
        raise RuntimeError("a plugin's fault")

    def yield_loop(self) -> None:
        self.yields += 1

    def start(self) -> None:
        self.health.start(self.loop, Nowhere(), self)

    def run(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(coroutine)

    def close(self) -> None:
        self.health.stop()
        assert not asyncio.all_tasks(self.loop)
        self.loop.close()
        gc.collect()


class Nowhere(Dialer):
    connect = connect_datagrams = None  # type: ignore[assignment]


@pytest.fixture
def bench() -> Any:
    made = Bench()
    yield made
    made.close()


def upstreams(names: str) -> list[Upstream]:
    return [DialUpstream(name) for name in names]


def eager(names: str, **more: Any) -> Watch:
    return Watch(upstreams(names), Plan(is_lazy=False, **more))


def test_members_are_tested_at_the_start_and_each_interval(bench: Bench) -> None:
    watch = eager("ab", interval=100)
    bench.health.adopt([watch])
    bench.start()
    bench.run(301)
    assert bench.tests.of("a") == bench.tests.of("b") == [0.0, 100.1, 200.2, 300.3]
    record = bench.health.record(watch.upstreams[0])
    assert record is not None
    assert record.delay == 100
    assert [delay.at for delay in record.history] == [pytest.approx(at + 0.1) for at in bench.tests.of("a")]


@pytest.mark.parametrize(("jitter", "second"), [(0.0, 90.1), (1.0, 110.1)])
def test_intervals_are_jittered(jitter: float, second: float) -> None:
    bench = Bench(jitter)
    bench.health.adopt([eager("a", interval=100)])
    bench.start()
    bench.run(120)
    assert bench.tests.of("a") == [0.0, second]
    bench.close()


def test_dead_members_are_tested_less_and_less_often(bench: Bench) -> None:
    bench.tests.takes["a"] = OSError("no route")
    watch = eager("a", interval=100)
    bench.health.adopt([watch])
    bench.start()
    bench.run(200)
    assert bench.tests.of("a") == [0.0, 5.0, 15.0, 35.0, 75.0, 155.0]
    assert bench.health.state(watch.upstreams[0]) == DEAD
    bench.tests.takes["a"] = 0.1
    bench.run(200)
    assert bench.health.state(watch.upstreams[0]) == WELL


def test_test_that_takes_too_long_has_failed(bench: Bench) -> None:
    bench.tests.takes["a"] = 60.0
    watch = eager("a", timeout=2.0)
    bench.health.adopt([watch])
    bench.start()
    bench.run(2.5)
    record = bench.health.record(watch.upstreams[0])
    assert record is not None
    assert (record.state, record.problem) == (DEAD, "no answer within 2 s")


def test_upstream_with_a_fault_is_dead_and_nothing_else(bench: Bench) -> None:
    bench.tests.takes["a"] = KeyError("oops")
    watch = eager("ab")
    bench.health.adopt([watch])
    bench.start()
    bench.run(1)
    assert [bench.health.state(upstream) for upstream in watch.upstreams] == [DEAD, WELL]


def test_tests_are_not_all_at_once(bench: Bench) -> None:
    watch = Watch([DialUpstream(f"n{number}") for number in range(3 * AT_ONCE)], Plan(is_lazy=False))
    bench.health.adopt([watch])
    bench.start()
    bench.run(1)
    assert bench.tests.most == AT_ONCE
    assert len(bench.tests.asked) == 3 * AT_ONCE


def test_lazy_group_is_tested_when_used_and_falls_asleep(bench: Bench) -> None:
    watch = Watch(upstreams("a"), Plan(interval=100))
    bench.health.adopt([watch])
    bench.start()
    bench.run(500)
    assert bench.tests.asked == []
    bench.health.use(watch)
    assert bench.yields > 0
    bench.run(1150)
    assert bench.tests.of("a") == [500.0]
    bench.health.use(watch)
    bench.run(1)
    assert bench.tests.of("a") == [500.0, 1650.0]


def test_lazy_group_in_use_is_tested_each_interval(bench: Bench) -> None:
    watch = Watch(upstreams("a"), Plan(interval=100))
    bench.health.adopt([watch])
    bench.start()
    for _ in range(30):
        bench.health.use(watch)
        bench.run(10)
    assert bench.tests.of("a") == [0.0, 100.1, 200.2]


def test_flow_that_fails_has_the_upstream_tested_soon(bench: Bench) -> None:
    watch = eager("ab")
    a, b = watch.upstreams
    bench.health.adopt([watch])
    bench.start()
    bench.run(100)
    bench.health.on_suspect(a, TimeoutError())
    assert bench.health.state(a) == WELL
    bench.run(1)
    bench.health.on_suspect(a, Unreached("refused"))
    bench.health.on_suspect(a, Unreached("refused"))
    assert bench.health.state(a) == SUSPECT
    bench.run(10)
    assert bench.tests.of("a") == [0.0, 100.0, 100.0 + HINT_SPACING]
    assert bench.tests.of("b") == [0.0]
    assert bench.health.state(a) == WELL
    assert bench.health.state(b) == WELL


def test_hint_names_another_upstream_where_the_error_does(bench: Bench) -> None:
    watch = eager("ab")
    a, b = watch.upstreams
    bench.health.adopt([watch])
    bench.health.on_suspect(a, Unreached("x", who="b"))
    assert (bench.health.state(a), bench.health.state(b)) == (WELL, SUSPECT)


def test_hint_about_an_upstream_of_no_group_does_nothing(bench: Bench) -> None:
    bench.start()
    bench.health.on_suspect(DialUpstream("x"), Unreached("x"))
    bench.run(10)
    assert bench.tests.asked == []


def test_test_on_demand_answers_or_says_why_not(bench: Bench) -> None:
    bench.start()
    upstream = DialUpstream("a")
    assert bench.call(bench.health.test(upstream)) == 100
    bench.tests.takes["a"] = OSError("no route")
    with pytest.raises(OpenError, match="test of a failed: no route"):
        bench.call(bench.health.test(upstream, "https://h/", 1.0))
    record = bench.health.record(upstream, TEST_URL)
    assert record is not None
    assert len(record.history) == 1
    bench.run(1000)
    assert len(bench.tests.asked) == 2


def test_test_on_demand_wants_the_status_that_the_group_wants(bench: Bench) -> None:
    wanted: list[object] = []

    async def fetch(upstream: Upstream, url: str, dialer: Dialer, expected: object) -> float:
        wanted.append(expected)
        return 0.1

    bench.health._fetch = fetch  # type: ignore[assignment]
    watch = eager("a", status=204, interval=1000)
    bench.health.adopt([watch])
    bench.start()
    bench.call(bench.health.test(watch.upstreams[0]))
    bench.call(bench.health.test(watch.upstreams[0], "http://other/"))
    bench.call(bench.health.test(watch.upstreams[0], expected=frozenset((200,))))
    assert [each for each in wanted if each != 204] == [0, frozenset((200,))]
    assert wanted.count(204) == 2  # the first test, and the one that was asked for


def test_test_before_the_start_is_refused(bench: Bench) -> None:
    with pytest.raises(OpenError, match="no tests before the start"):
        bench.call(bench.health.test(DialUpstream("a")))


def test_adopt_keeps_what_is_known_of_the_same_upstream(bench: Bench) -> None:
    bench.tests.takes["a"] = OSError("no route")
    bench.health.adopt([eager("ab")])
    bench.start()
    bench.run(1)
    watch = eager("ac")
    bench.health.adopt([watch])
    assert bench.health.state(watch.upstreams[0]) == DEAD
    record = bench.health.record(watch.upstreams[0])
    assert record is not None
    assert record.upstream is watch.upstreams[0]
    bench.run(3)
    assert bench.tests.of("c") == [1.0]
    bench.run(1000)
    assert bench.tests.of("b") == [0.0]
    assert bench.tests.of("a")[:2] == [0.0, 5.0]


def test_adopt_of_an_upstream_elsewhere_forgets() -> None:
    class Proxy(DialUpstream):
        host = "192.0.2.1"

    bench = Bench()
    bench.tests.takes["a"] = OSError("x")
    bench.health.adopt([Watch([Proxy("a")], Plan(is_lazy=False))])
    bench.start()
    bench.run(1)
    moved = Proxy("a")
    moved.host = "192.0.2.2"
    bench.health.adopt([Watch([moved], Plan(is_lazy=False))])
    assert bench.health.state(moved) == WELL
    bench.close()


def test_stop_ends_tests_that_run_and_begins_no_others(bench: Bench) -> None:
    bench.tests.takes["a"] = 4.0
    bench.health.adopt([eager("a")])
    bench.start()
    bench.run(1)
    assert bench.tests.running == 1
    bench.health.stop()
    assert bench.tests.running == 0
    bench.run(1000)
    assert len(bench.tests.asked) == 1
    assert bench.health.statistics() == {"tested": 1, "unwell": 0, "running": 0}


def test_exploring_that_fails_is_logged_and_tried_again(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.health.adopt([], upstreams("a"))
    bench.start()
    with caplog.at_level(logging.ERROR):
        bench.run(7000)
    assert [name for _, name in bench.explored] == ["a", "a", "a"]
    assert "upstream a: cannot find out what it carries" in caplog.text


@pytest.mark.parametrize("call", [lambda health, a: health.state(a), lambda health, a: health.record(a)])
def test_upstream_never_heard_of_is_taken_as_well(call: Callable[..., object]) -> None:
    assert not call(Health(), DialUpstream("x"))


def test_all_that_is_in_use_is_tested_anew_in_another_network(bench: Bench) -> None:
    lazy = Watch(upstreams("b"), Plan(interval=100))
    bench.health.adopt([eager("a", interval=100), lazy], upstreams("c"))
    bench.start()
    bench.run(10)
    assert (len(bench.tests.of("a")), bench.tests.of("b"), len(bench.explored)) == (1, [], 1)
    bench.health.renew()
    bench.run(1)
    assert bench.tests.of("a")[1:] == [10.0]
    assert (bench.tests.of("b"), len(bench.explored)) == ([], 2), "what sleeps is left asleep"
