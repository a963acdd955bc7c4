"""Coroutines that open ways for datagrams: every request is answered, every way closed, whatever they do."""

import asyncio
import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.unit.upstream.test_opening import Path
from tests.unit.waiting import turns
from tunproxy.errors import UpstreamError
from tunproxy.flow.codec import Codec
from tunproxy.flow.framing import Framing
from tunproxy.flow.ports import DatagramRequest
from tunproxy.flow.seal import Seal
from tunproxy.flow.stream_framing import StreamFraming
from tunproxy.flow.targets import Targets
from tunproxy.flow.verdict import DIAL, DROP, OPEN, REJECT, FlowInfo, Verdict
from tunproxy.upstream.base import Dialer, OpenError, OpenUpstream
from tunproxy.upstream.datagrams import DatagramStream, DatagramUpstream, DatagramWay
from tunproxy.upstream.deferred import DeferredUpstream
from tunproxy.upstream.failures import words_of
from tunproxy.upstream.knowledge import UDP
from tunproxy.upstream.opening import AsyncOpener

pytestmark = pytest.mark.filterwarnings("error")  # a socket that nobody closed, a task nobody awaited

FLOW = FlowInfo("udp", bytes([10, 0, 0, 2]), 40000, bytes([192, 0, 2, 7]), 53)
Open = Callable[[FlowInfo, Dialer], Awaitable[object]]


class Proxy(OpenUpstream, DatagramUpstream):
    """An upstream whose way is what a test hands in."""

    def __init__(self, way: Open) -> None:
        super().__init__("proxy")
        self.way = way

    async def open(self, info: FlowInfo, dialer: Dialer) -> socket.socket:
        raise NotImplementedError

    async def open_datagrams(self, info: FlowInfo, dialer: Dialer) -> DatagramWay:
        return await self.way(info, dialer)  # type: ignore[return-value]  # on purpose


class Request(DatagramRequest):
    """Notes how it is answered."""

    def __init__(self) -> None:
        self.answers: list[object] = []
        self.attempts: list[tuple[str, str]] = []
        self.seal: Seal | None = None

    def tried(self, where: str, took: int, failure: str) -> None:
        assert took >= 0
        assert not self.answers, "attempts are told before the answer"
        self.attempts.append((where, failure))

    def opened(self, sock: socket.socket, framing: Framing, seal: Seal | None = None) -> None:
        self.answers.append(sock)
        self.seal = seal

    def opened_stream(
        self, sock: socket.socket, framing: StreamFraming, rest: bytes = b"", codec: Codec | None = None
    ) -> None:
        self.answers.append((sock, framing, rest, codec))

    def decided(self, verdict: Verdict) -> None:
        self.answers.append(verdict)

    def failed(self, error: int) -> None:
        self.answers.append(error)

    def ended(self) -> None:
        self.answers.append("ended")


class Bench:
    """A loop with an opener on it, and the proxy's ends of what is opened."""

    def __init__(self, time_limit: float = 5.0) -> None:
        self.loop = asyncio.new_event_loop()
        self.path = Path()
        self.opener = AsyncOpener(self.loop, self.path, time_limit=time_limit)
        self.relay = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.relay.bind(("127.0.0.1", 0))
        self.made: list[DatagramWay] = []
        self.controls: list[socket.socket] = []

    async def connect(self, info: FlowInfo, dialer: Dialer) -> DatagramWay:
        """Open a way with a control stream."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.controls.append(theirs)
        host, port = self.relay.getsockname()
        self.made.append(DatagramWay(await dialer.connect_datagrams(host, port), Framing(), ours))
        return self.made[-1]

    def ask(self, upstream: object) -> Request:
        request = Request()
        self.opener.open_datagrams(FLOW, Verdict(OPEN, "proxy", opener=upstream), request)
        return request

    def run(self, seconds: float = 0.03) -> None:
        self.loop.run_until_complete(turns(seconds))

    def are_all_closed(self) -> bool:
        return all(
            way.sock.fileno() < 0 and (way.control is None or way.control.fileno() < 0) for way in self.made
        )

    def close(self) -> None:
        self.opener.close()
        assert self.are_all_closed()
        self.loop.close()
        for sock in (self.relay, *self.controls):
            sock.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def test_way_is_handed_over_and_watched_until_it_ends(bench: Bench) -> None:
    proxy = Proxy(bench.connect)
    request = bench.ask(proxy)
    assert bench.path.yields == 1
    assert bench.opener.statistics().pending == 1
    bench.run()
    [sock] = request.answers
    assert request.attempts == [(f"127.0.0.1:{bench.relay.getsockname()[1]}", "")]
    assert sock is bench.made[0].sock
    assert sock.gettimeout() == 0
    assert (bench.opener.statistics().opened, bench.opener.statistics().pending) == (1, 0)
    assert proxy.knowledge.has(UDP) is True
    bench.controls[0].sendall(b"what a proxy says here means nothing")
    bench.run()
    assert request.answers == [sock]
    bench.controls[0].close()
    bench.run()
    assert request.answers == [sock, "ended"]
    assert bench.are_all_closed()


def test_seal_is_handed_over_with_the_way(bench: Bench) -> None:
    seal = Seal()

    async def sealed(info: FlowInfo, dialer: Dialer) -> object:
        sock = await dialer.connect_datagrams(*bench.relay.getsockname())
        bench.made.append(DatagramWay(sock, Framing(), seal=seal))
        return bench.made[-1]

    request = bench.ask(Proxy(sealed))
    bench.run()
    assert request.seal is seal


def test_stream_of_an_upstream_with_a_way_for_each_target_is_handed_over(bench: Bench) -> None:
    framing, codec = StreamFraming(), Codec()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        async def streamed(info: FlowInfo, dialer: Dialer) -> object:
            return DatagramStream(await dialer.connect(*listener.getsockname()), framing, b"rest", codec)

        proxy = Proxy(streamed)
        proxy.is_per_target = True
        assert bench.opener.is_per_target(Verdict(OPEN, "proxy", opener=proxy))
        request = bench.ask(proxy)
        bench.run()
        [answer] = request.answers
        assert isinstance(answer, tuple)
        sock, *others = answer
        assert others == [framing, b"rest", codec]
        with listener.accept()[0] as conn:
            conn.close()
            bench.run()
            assert len(request.answers) == 1, "its end is for the packet path to see"
        assert sock.fileno() >= 0
        bench.opener.close_datagrams(request)
        bench.run()
        assert sock.fileno() < 0


def test_stream_and_way_must_not_be_mistaken_for_each_other(bench: Bench) -> None:
    assert not bench.opener.is_per_target(Verdict(OPEN, "proxy", opener=Proxy(bench.connect)))
    assert not bench.opener.is_per_target(Verdict(OPEN, "proxy", opener=object()))
    proxy = Proxy(bench.connect)
    proxy.is_per_target = True
    request = bench.ask(proxy)
    bench.run()
    assert request.answers == [errno.ECONNREFUSED]
    assert bench.opener.statistics().faults == {"proxy": 1}
    assert bench.are_all_closed()


def test_trouble_is_told_once_and_then_counted(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    verdict = Verdict(OPEN, "proxy", opener=Proxy(bench.connect))
    for _ in range(5):
        bench.opener.on_trouble(FLOW, verdict, "nothing comes back")
    assert [record.getMessage() for record in caplog.records] == [
        f"{FLOW}: upstream proxy: nothing comes back"
    ]


def test_way_that_nobody_wants_any_more_is_closed_in_silence(bench: Bench) -> None:
    request = bench.ask(Proxy(bench.connect))
    bench.run()
    bench.opener.close_datagrams(request)
    bench.opener.close_datagrams(request)
    bench.run()
    assert len(request.answers) == 1
    assert bench.are_all_closed()
    assert bench.path.yields == 2


def test_opening_that_nobody_waits_for_any_more_is_stopped(bench: Bench) -> None:
    async def slow(info: FlowInfo, dialer: Dialer) -> object:
        await asyncio.sleep(3600)
        return None

    request = bench.ask(Proxy(slow))
    bench.run()
    bench.opener.close_datagrams(request)
    bench.run()
    assert request.answers == []
    assert bench.opener.statistics().pending == 0


def test_way_that_comes_too_late_is_closed(bench: Bench) -> None:
    async def stubborn(info: FlowInfo, dialer: Dialer) -> object:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass
        return await bench.connect(info, dialer)

    request = bench.ask(Proxy(stubborn))
    bench.run()
    bench.opener.close_datagrams(request)
    bench.run()
    assert request.answers == []
    assert len(bench.made) == 1
    assert bench.are_all_closed()


def test_way_without_a_control_stream_stays(bench: Bench) -> None:
    async def bare(info: FlowInfo, dialer: Dialer) -> object:
        bench.made.append(DatagramWay(await dialer.connect_datagrams(*bench.relay.getsockname()), Framing()))
        return bench.made[-1]

    request = bench.ask(Proxy(bare))
    bench.run(0.1)
    assert len(request.answers) == 1


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.EHOSTUNREACH, "no way"), errno.EHOSTUNREACH),
        (OpenError("it says no"), errno.ECONNREFUSED),
        (UpstreamError("nonsense"), errno.ECONNREFUSED),
        (TimeoutError(), errno.ETIMEDOUT),
        (RuntimeError("a bug"), errno.ECONNREFUSED),
        (SystemExit(1), errno.ECONNREFUSED),
    ],
    ids=repr,
)
def test_failure_is_told_by_its_errno(bench: Bench, error: BaseException, told: int) -> None:
    async def failing(info: FlowInfo, dialer: Dialer) -> object:
        raise error

    request = bench.ask(Proxy(failing))
    bench.run()
    assert request.attempts == [("proxy", words_of(error))]
    assert request.answers == [told]
    assert bench.opener.statistics().failed == 1


def test_attempts_are_told_before_the_failure(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        host, port = proxy.getsockname()

        async def refusing(info: FlowInfo, dialer: Dialer) -> object:
            (await dialer.connect(host, port)).close()
            raise OpenError("the proxy does not know the command")

        upstream = Proxy(refusing)
        request = bench.ask(upstream)
        bench.run()
    assert request.attempts == [
        (f"{host}:{port}", ""),
        (upstream.name, "the proxy does not know the command"),
    ]
    assert request.answers == [errno.ECONNREFUSED]


def test_upstream_without_udp_refuses_and_is_known_for_it(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    class Streams(OpenUpstream):
        async def open(self, info: FlowInfo, dialer: Dialer) -> socket.socket:
            raise NotImplementedError

    upstream = Streams("streams")
    request = bench.ask(upstream)
    bench.run()
    assert request.answers == [errno.ECONNREFUSED]
    assert upstream.knowledge.has(UDP) is False
    assert "carries no datagrams" in caplog.text


def test_slow_way_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(time_limit=0.05)
    try:

        async def slow(info: FlowInfo, dialer: Dialer) -> object:
            await asyncio.sleep(3600)
            return None

        request = bench.ask(Proxy(slow))
        bench.run(0.2)
        assert request.answers == [errno.ETIMEDOUT]
        assert request.attempts == [("proxy", "not open after 0.05 s")]
        assert "not open after 0.05 s" in caplog.text
    finally:
        bench.close()


def test_what_is_no_way_is_a_fault_and_closed(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    made: list[socket.socket] = []

    def odd(kind: str) -> object:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "stream" else socket.SOCK_DGRAM)
        made.append(sock)
        if kind not in ("lonely", "stream"):
            sock.connect(bench.relay.getsockname())
        sock.setblocking(kind == "blocking")
        return DatagramWay(sock, "none" if kind == "framing" else Framing())  # type: ignore[arg-type]

    for kind in ("stream", "lonely", "blocking", "framing", "nothing"):

        async def faulty(info: FlowInfo, dialer: Dialer, kind: str = kind) -> object:
            return None if kind == "nothing" else odd(kind)

        request = bench.ask(Proxy(faulty))
        bench.run()
        assert request.answers == [errno.ECONNREFUSED], kind
    assert all(sock.fileno() < 0 for sock in made)
    assert bench.opener.statistics().faults["proxy"] == 5


def test_opener_that_closes_ends_all_ways_first_and_opens_no_more(bench: Bench) -> None:
    request, pending = bench.ask(Proxy(bench.connect)), Request()
    bench.run()

    async def slow(info: FlowInfo, dialer: Dialer) -> object:
        await asyncio.sleep(3600)
        return None

    bench.opener.open_datagrams(FLOW, Verdict(OPEN, "proxy", opener=Proxy(slow)), pending)
    bench.opener.close()
    assert request.answers[1:] == ["ended"]
    assert pending.answers == []
    late = bench.ask(Proxy(bench.connect))
    assert late.answers == [errno.ECONNREFUSED]


# flows that are still to be decided


class Rules:
    """Decides what a test hands in; resolved are addresses of the name."""

    def __init__(self, verdict: Verdict, resolved: tuple[str, ...] = ()) -> None:
        self.verdict = verdict
        self.resolved = resolved

    async def settle(self, info: FlowInfo) -> Verdict:
        await asyncio.sleep(0)
        return self.verdict

    def addresses_of(self, info: FlowInfo) -> tuple[str, ...]:
        return self.resolved

    def is_unresolved(self, info: FlowInfo) -> bool:
        return False


@pytest.mark.parametrize(
    ("verdict", "told"),
    [
        (Verdict(OPEN, "work", opener=object()), (OPEN, "", 0)),
        (Verdict(DIAL, "direct"), (DIAL, "", 0)),
        (Verdict(DIAL, "dns", "203.0.113.5", 5353), (DIAL, "203.0.113.5", 5353)),
        (Verdict(DIAL, "direct", "198.51.100.1"), (DIAL, "192.0.2.1", 53)),
        (Verdict(DIAL, "direct", "127.0.0.1"), errno.EHOSTUNREACH),
        (Verdict(REJECT, "no"), errno.ECONNREFUSED),
        (Verdict(DROP, "no"), errno.ETIMEDOUT),
    ],
)
def test_deferred_flow_gets_the_verdict_or_a_refusal(
    bench: Bench, verdict: Verdict, told: tuple[int, str, int] | int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    targets = Targets({(bytes([198, 51, 100, 1]), 0): ("192.0.2.1", 0)})
    names = (verdict.address,) if verdict.upstream == "direct" and verdict.address else ()
    deferred = DeferredUpstream(Rules(verdict, names), targets)
    assert bench.opener.is_undecided(Verdict(OPEN, "undecided", opener=deferred))
    assert not bench.opener.is_undecided(Verdict(OPEN, "proxy", opener=Proxy(bench.connect)))
    request = bench.ask(deferred)
    bench.run()
    [answer] = request.answers
    if isinstance(answer, Verdict):
        answer = (int(answer.kind), answer.address, int(answer.port))
    assert answer == told
    assert "undecided" not in caplog.text
    assert all(record.levelno < logging.WARNING for record in caplog.records)
