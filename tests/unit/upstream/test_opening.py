"""Coroutines that open upstreams: every request is answered once, whatever they do."""

import asyncio
import errno
import gc
import logging
import socket
import ssl
import struct
import sys
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.unit.waiting import turns
from tunproxy.flow.codec import Codec, CodecError
from tunproxy.flow.ports import OpenRequest
from tunproxy.flow.targets import Targets
from tunproxy.flow.verdict import DIAL, DROP, OPEN, REJECT, FlowInfo, Verdict
from tunproxy.logs.about import fields_of
from tunproxy.upstream.base import (
    REFUSED,
    SILENT,
    UNREACHABLE,
    Dialer,
    Opened,
    OpenError,
    OpenUpstream,
    Upstream,
)
from tunproxy.upstream.deferred import DeferredUpstream
from tunproxy.upstream.failures import errno_of
from tunproxy.upstream.opening import AsyncOpener
from tunproxy.upstream.sockets import KernelSockets
from tunproxy.upstream.types import URL_NAME

pytestmark = pytest.mark.filterwarnings("error")  # a socket that nobody closed, a task nobody awaited

FLOW = FlowInfo("tcp", bytes([10, 0, 0, 2]), 40000, bytes([192, 0, 2, 7]), 80)
Open = Callable[[FlowInfo, Dialer], Awaitable[object]]


class Proxy(OpenUpstream):
    """An upstream whose conversation is what a test hands in."""

    def __init__(self, conversation: Open, name: str = "proxy") -> None:
        super().__init__(name)
        self.conversation = conversation

    async def open(self, info: FlowInfo, dialer: Dialer) -> socket.socket:
        return await self.conversation(info, dialer)  # type: ignore[return-value]  # on purpose


class Request(OpenRequest):
    """Notes how it is answered."""

    def __init__(self) -> None:
        self.answers: list[socket.socket | int] = []
        self.rest = b""
        self.codec: Codec | None = None
        self.decisions: list[str] = []
        self.attempts: list[tuple[str, str]] = []

    def decided(self, verdict: Verdict) -> None:
        self.decisions.append(verdict.upstream)

    def tried(self, where: str, took: int, failure: str) -> None:
        self.attempts.append((where, failure))

    def opened(self, sock: socket.socket, rest: bytes = b"", codec: Codec | None = None) -> None:
        self.answers.append(sock)
        self.rest = rest
        self.codec = codec

    def failed(self, error: int) -> None:
        self.answers.append(error)


class Path:
    """Stands for the packet path: notes that it was asked to let asyncio have its turn."""

    def __init__(self) -> None:
        self.yields = 0

    def yield_loop(self) -> None:
        self.yields += 1


class Bench:
    """A loop with an opener on it."""

    def __init__(self, time_limit: float = 5.0) -> None:
        self.loop = asyncio.new_event_loop()
        self.path = Path()
        self.opener = AsyncOpener(self.loop, self.path, time_limit=time_limit)

    def open(self, conversation: Open) -> Request:
        request = Request()
        self.opener.open(FLOW, Proxy(conversation).verdict_for(FLOW), request)
        return request

    def run(self, seconds: float = 0.0) -> None:
        self.loop.run_until_complete(turns(seconds))

    def answer_to(self, conversation: Open) -> socket.socket | int:
        """Return the one answer to a request, leaving time for a second one."""
        request = self.open(conversation)
        for _ in range(100):
            self.run(0.01)
            if request.answers:
                break
        self.run(0.01)
        (answer,) = request.answers
        return answer


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.opener.close()
    made.loop.close()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def test_open_connected_socket_goes_to_the_flow(bench: Bench, server: socket.socket) -> None:
    host, port = server.getsockname()
    answer = bench.answer_to(lambda info, dialer: dialer.connect(host, port))
    assert isinstance(answer, socket.socket)
    with answer, server.accept()[0] as conn:
        conn.sendall(b"hello")
        bench.run(0.01)
        assert answer.recv(10) == b"hello"
        assert answer.gettimeout() == 0
    assert bench.opener.statistics().opened == 1
    assert bench.opener.statistics().pending == 0


def test_open_octets_read_too_early_and_codec_go_to_the_flow(bench: Bench, server: socket.socket) -> None:
    codec = Codec()

    async def eager(info: FlowInfo, dialer: Dialer) -> object:
        return Opened(await dialer.connect(*server.getsockname()), b"220 hello", codec)

    request = bench.open(eager)
    bench.run(0.05)
    (answer,) = request.answers
    assert isinstance(answer, socket.socket)
    answer.close()
    assert request.rest == b"220 hello"
    assert request.codec is codec


@pytest.mark.parametrize(("rest", "codec"), [("220", None), (b"", "rot13")])
def test_open_useless_rest_or_codec_is_a_fault_and_closed(
    bench: Bench, server: socket.socket, rest: bytes, codec: Codec
) -> None:
    async def faulty(info: FlowInfo, dialer: Dialer) -> object:
        return Opened(await dialer.connect(*server.getsockname()), rest, codec)

    assert bench.answer_to(faulty) == REFUSED
    assert bench.opener.statistics().faults == {"proxy": 1}
    with server.accept()[0] as conn:
        assert conn.recv(1) == b""


def test_open_from_inside_select_begins_later_and_asks_the_packet_path_to_yield(bench: Bench) -> None:
    begun = []

    async def begin(info: FlowInfo, dialer: Dialer) -> object:
        begun.append(info)
        raise OpenError("no")

    request = bench.open(begin)
    assert (begun, request.answers, bench.path.yields) == ([], [], 1)
    assert bench.opener.statistics().pending == 1
    bench.run(0.01)
    assert begun == [FLOW]
    assert request.answers == [REFUSED]


def raising(error: BaseException) -> Open:
    async def conversation(info: FlowInfo, dialer: Dialer) -> object:
        await asyncio.sleep(0)
        raise error

    return conversation


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OpenError("wrong password"), REFUSED),
        (OpenError("no route there", UNREACHABLE), UNREACHABLE),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), errno.ECONNREFUSED),
        (OSError(errno.ENETUNREACH, "no network"), errno.ENETUNREACH),
        (OSError(errno.EMFILE, "too many open files"), errno.EMFILE),
        (OSError(errno.EPIPE, "broken pipe"), REFUSED),
        (OSError("Multiple exceptions"), REFUSED),
        (TimeoutError(), SILENT),
        (socket.gaierror(socket.EAI_NONAME, "no such name"), UNREACHABLE),
        (ssl.SSLError(1, "bad certificate"), REFUSED),
        (asyncio.IncompleteReadError(b"", 4), REFUSED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_open_honest_failure_is_told_and_is_no_fault(bench: Bench, error: Exception, told: int) -> None:
    assert errno_of(error) == told
    assert bench.answer_to(raising(error)) == told
    assert bench.opener.statistics().failed == 1
    assert bench.opener.statistics().faults == {}


def test_open_upstreams_own_words_are_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.answer_to(raising(OpenError("wrong password for 'joe'")))
    assert "192.0.2.7:80: upstream proxy: wrong password for 'joe'" in caplog.text


def test_open_upstream_of_the_command_line_has_no_name(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    unnamed = Proxy(raising(OpenError("wrong")), URL_NAME)
    bench.opener.open(FLOW, unnamed.verdict_for(FLOW), Request())
    bench.run(0.1)
    assert "192.0.2.7:80: the upstream: wrong" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("broken"),
        SystemExit(1),
        KeyboardInterrupt(),
        GeneratorExit(),
        asyncio.CancelledError(),
        BaseException("odd"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_open_faulty_upstream_is_logged_counted_and_refused(
    bench: Bench, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        assert bench.answer_to(raising(error)) == REFUSED
    assert bench.opener.statistics().faults == {"proxy": 1}
    assert "upstream proxy is faulty" in caplog.text


async def nothing(info: FlowInfo, dialer: Dialer) -> object:
    return None


async def unconnected(info: FlowInfo, dialer: Dialer) -> object:
    return KernelSockets(0, "").tcp(socket.AF_INET)


async def datagrams(info: FlowInfo, dialer: Dialer) -> object:
    return KernelSockets(0, "").udp(socket.AF_INET)


async def closed(info: FlowInfo, dialer: Dialer) -> object:
    sock = socket.socket()
    sock.close()
    return sock


def no_coroutine(info: FlowInfo, dialer: Dialer) -> Awaitable[object]:
    return None  # type: ignore[return-value]  # on purpose


@pytest.mark.parametrize("conversation", [nothing, unconnected, datagrams, closed, no_coroutine])
def test_open_useless_answer_is_a_fault(bench: Bench, conversation: Open) -> None:
    assert bench.answer_to(conversation) == REFUSED
    assert bench.opener.statistics().faults == {"proxy": 1}
    gc.collect()  # what was not closed warns, which fails the test


def test_open_socket_that_was_reset_meanwhile_is_no_fault(
    bench: Bench, server: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    """Some proxies say that the target is reached before they have tried."""

    async def eager(info: FlowInfo, dialer: Dialer) -> object:
        made = await dialer.connect(*server.getsockname()[:2])
        accepted = server.accept()[0]
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()
        await asyncio.sleep(0.02)
        return made

    assert bench.answer_to(eager) == errno.ECONNRESET
    assert bench.opener.statistics().faults == {}
    assert "upstream proxy: Connection reset by peer" in caplog.text


def test_open_blocking_socket_is_a_fault_and_closed(bench: Bench, server: socket.socket) -> None:
    async def blocking(info: FlowInfo, dialer: Dialer) -> object:
        return socket.create_connection(server.getsockname())

    assert bench.answer_to(blocking) == REFUSED
    with server.accept()[0] as conn:
        assert conn.recv(1) == b""


def test_open_socket_of_a_transport_is_a_fault(bench: Bench, server: socket.socket) -> None:
    writers = []

    async def streams(info: FlowInfo, dialer: Dialer) -> object:
        sock = await dialer.connect(*server.getsockname())
        _, writer = await asyncio.open_connection(sock=sock)
        writers.append(writer)
        return sock

    assert bench.answer_to(streams) == REFUSED
    writers[0].close()
    bench.run(0.01)


def test_open_reader_left_behind_is_removed(bench: Bench, server: socket.socket) -> None:
    async def watching(info: FlowInfo, dialer: Dialer) -> object:
        sock = await dialer.connect(*server.getsockname())
        bench.loop.add_reader(sock, lambda: None)
        return sock

    answer = bench.answer_to(watching)
    assert isinstance(answer, socket.socket)
    with answer:
        assert not bench.loop.remove_reader(answer)


def test_open_verdict_without_opener_is_a_fault(bench: Bench) -> None:
    request = Request()
    bench.opener.open(FLOW, Verdict(OPEN, "nobody", opener=sys), request)
    bench.run(0.01)
    assert request.answers == [REFUSED]
    assert bench.opener.statistics().faults == {"nobody": 1}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (CodecError("the stream is corrupt"), "the stream is corrupt"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "reset"),
        (KeyError("k"), "KeyError: 'k'"),
        (SystemExit(1), "SystemExit: 1"),
    ],
)
def test_spoiled_stream_is_told_and_what_is_the_codecs_mistake_by_its_kind(
    bench: Bench, error: BaseException, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench.opener.on_spoiled("work", error)
    told = f"a flow was cut: upstream work: its stream was spoiled: {words}"
    assert [record.getMessage() for record in caplog.records] == [told]


def test_cancel_ends_the_coroutine_and_answers_nothing(bench: Bench) -> None:
    ended = []

    async def patient(info: FlowInfo, dialer: Dialer) -> object:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)
        return None

    request = bench.open(patient)
    bench.run(0.01)
    bench.opener.cancel(request)
    bench.opener.cancel(request)
    bench.run(0.01)
    assert (request.answers, ended) == ([], [True])
    assert bench.opener.statistics().faults == {}
    assert bench.path.yields == 2


def test_cancel_before_the_coroutine_began_answers_nothing(bench: Bench) -> None:
    request = bench.open(raising(RuntimeError("too late")))
    bench.opener.cancel(request)
    bench.run(0.01)
    assert request.answers == []


def test_cancel_of_a_request_that_is_not_known_does_nothing(bench: Bench) -> None:
    bench.opener.cancel(Request())


def test_cancel_after_the_loop_has_been_closed_does_nothing() -> None:
    async def patient(info: FlowInfo, dialer: Dialer) -> object:
        await asyncio.sleep(60)
        return None

    bench = Bench()
    request = bench.open(patient)
    bench.run()
    bench.loop.close()
    bench.opener.cancel(request)
    assert request.answers == []
    assert bench.opener.statistics().pending == 0


def test_cancel_ignored_by_the_upstream_closes_what_it_returns(bench: Bench, server: socket.socket) -> None:
    request = bench.open(stubborn(server))
    bench.run(0.01)
    bench.opener.cancel(request)
    bench.run(0.05)
    assert request.answers == []
    with server.accept()[0] as conn:
        assert conn.recv(1) == b""


def stubborn(server: socket.socket) -> Open:
    """Return a conversation that cannot be cancelled."""

    async def conversation(info: FlowInfo, dialer: Dialer) -> object:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return await dialer.connect(*server.getsockname())
        return None

    return conversation


@pytest.mark.parametrize("is_stubborn", [False, True])
def test_time_limit_passes_client_hears_nothing(server: socket.socket, is_stubborn: bool) -> None:
    bench = Bench(time_limit=0.02)

    async def patient(info: FlowInfo, dialer: Dialer) -> object:
        await asyncio.sleep(60)
        return None

    assert bench.answer_to(stubborn(server) if is_stubborn else patient) == SILENT
    bench.run(0.02)
    assert bench.opener.statistics().failed == 1
    bench.opener.close()
    bench.loop.close()


def test_close_cancels_everything_and_waits_for_it(bench: Bench) -> None:
    ended = []

    async def patient(info: FlowInfo, dialer: Dialer) -> object:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            ended.append(True)
        return None

    requests = [bench.open(patient) for _ in range(3)]
    bench.run(0.01)
    bench.opener.close()
    assert ended == [True] * 3
    assert [request.answers for request in requests] == [[], [], []]


def test_close_refuses_what_comes_later(bench: Bench) -> None:
    bench.opener.close()
    assert bench.open(nothing).answers == [REFUSED]


def test_open_two_hundred_at_once_all_are_answered(bench: Bench, server: socket.socket) -> None:
    server.listen(200)
    requests = [bench.open(lambda info, dialer: dialer.connect(*server.getsockname())) for _ in range(200)]
    bench.run(0.5)
    assert bench.opener.statistics().opened == 200
    for request in requests:
        (answer,) = request.answers
        assert isinstance(answer, socket.socket)
        answer.close()


class Suspicions:
    """Who is told that an upstream may have failed."""

    def __init__(self, time_limit: float = 5.0) -> None:
        self.heard: list[tuple[str, str]] = []
        self.loop = asyncio.new_event_loop()
        self.opener = AsyncOpener(self.loop, Path(), on_suspect=self.on_suspect, time_limit=time_limit)

    def run(self, seconds: float) -> None:
        self.loop.run_until_complete(turns(seconds))

    def on_suspect(self, upstream: Upstream, error: BaseException) -> None:
        who = error.who if isinstance(error, OpenError) and error.who else upstream.name
        self.heard.append((who, type(error).__name__))

    def close(self) -> None:
        self.opener.close()
        self.loop.close()


@pytest.fixture
def suspicions() -> Iterator[Suspicions]:
    made = Suspicions()
    yield made
    made.close()


@pytest.fixture
def hasty() -> Iterator[Suspicions]:
    """Yield the same with a time limit that soon passes."""
    made = Suspicions(time_limit=0.02)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("error", "heard"),
    [
        (OpenError("wrong password"), [("proxy", "OpenError")]),
        (TimeoutError(), [("proxy", "TimeoutError")]),
        (ConnectionRefusedError(errno.ECONNREFUSED, "target"), []),
    ],
)
def test_failure_that_may_be_the_upstreams_is_told(
    error: Exception, heard: list[tuple[str, str]], suspicions: Suspicions
) -> None:
    verdict = Proxy(nothing).verdict_for(FLOW)
    suspicions.opener.explain(FLOW, verdict, error)
    assert suspicions.heard == heard


def test_failure_that_shows_a_lack_is_remembered_for_the_next_flow(suspicions: Suspicions) -> None:
    proxy = Proxy(nothing)
    suspicions.opener.explain(FLOW, proxy.verdict_for(FLOW), OpenError("no", lacks="ipv6"))
    assert proxy.knowledge.has("ipv6") is False


def test_time_limit_that_passes_is_told(hasty: Suspicions) -> None:
    async def patient(info: FlowInfo, dialer: Dialer) -> object:
        await asyncio.sleep(60)
        return None

    hasty.opener.open(FLOW, Proxy(patient).verdict_for(FLOW), Request())
    hasty.run(0.05)
    assert hasty.heard == [("proxy", "TimeoutError")]


def test_proxy_that_the_packet_path_could_not_dial_is_told(suspicions: Suspicions) -> None:
    verdict = Proxy(nothing).verdict_for(FLOW)
    assert suspicions.opener.unreached(FLOW, verdict, errno.EHOSTUNREACH) == errno.EHOSTUNREACH
    assert suspicions.heard == [("proxy", "Unreached")]
    assert suspicions.opener.statistics().failed == 1


def test_flow_that_reaches_ipv6_shows_that_the_upstream_can(bench: Bench, server: socket.socket) -> None:
    six = FlowInfo("tcp", bytes(16), 40000, bytes(15) + b"\x07", 80)
    proxy = Proxy(lambda info, dialer: dialer.connect(*server.getsockname()))
    request = Request()
    bench.opener.open(six, proxy.verdict_for(six), request)
    bench.run(0.05)
    (answer,) = request.answers
    assert isinstance(answer, socket.socket)
    answer.close()
    assert proxy.knowledge.has("ipv6") is True


# flows that were still to be decided: what fails is whom the rules have chosen then


class Rules:
    """Decides what a test hands in."""

    def __init__(self, verdict: Verdict, seconds: float = 0.0) -> None:
        self.verdict = verdict
        self.seconds = seconds

    async def settle(self, info: FlowInfo) -> Verdict:
        await asyncio.sleep(self.seconds)
        return self.verdict

    def addresses_of(self, info: FlowInfo) -> tuple[str, ...]:
        return ()

    def is_unresolved(self, info: FlowInfo) -> bool:
        return False


def deferred(verdict: Verdict, seconds: float = 0.0) -> Verdict:
    opener = DeferredUpstream(Rules(verdict, seconds), Targets({}))
    return Verdict(OPEN, "undecided", opener=opener, why="a rule needs the process")


@pytest.mark.parametrize("times", [1, 2])
def test_deferred_flow_that_fails_is_told_of_the_chosen_upstream(
    suspicions: Suspicions, caplog: pytest.LogCaptureFixture, times: int
) -> None:
    proxy = Proxy(raising(OpenError("no IPv6 here", lacks="ipv6")), "work")
    verdict = proxy.verdict_for(FLOW, "rule MATCH,work")
    for _ in range(times):  # a plugin waits, and then the rules do
        verdict = deferred(verdict)
    request = Request()
    suspicions.opener.open(FLOW, verdict, request)
    suspicions.run(0.01)
    assert request.answers == [REFUSED]
    assert request.decisions[-1:] == ["work"]
    assert request.attempts == [("work", "no IPv6 here")]
    assert "192.0.2.7:80: upstream work: no IPv6 here" in caplog.text
    fields = fields_of(caplog.records[-1])
    assert (fields["upstream"], fields["rule"]) == ("work", "rule MATCH,work")
    assert suspicions.heard == [("work", "OpenError")]
    assert proxy.knowledge.has("ipv6") is False


def test_deferred_flow_whose_chosen_upstream_is_too_slow_is_told_of_it(
    hasty: Suspicions, caplog: pytest.LogCaptureFixture
) -> None:
    async def patient(info: FlowInfo, dialer: Dialer) -> object:
        await asyncio.sleep(60)
        return None

    request = Request()
    hasty.opener.open(FLOW, deferred(Proxy(patient, "work").verdict_for(FLOW)), request)
    hasty.run(0.05)
    assert request.answers == [SILENT]
    assert hasty.heard == [("work", "TimeoutError")]
    assert "upstream work: not open after 0.02 s" in caplog.text


@pytest.mark.parametrize(
    ("verdict", "answer"),
    [
        (Verdict(REJECT, "reject", why="rule MATCH,REJECT"), errno.ECONNREFUSED),
        (Verdict(DROP, "drop", why="rule MATCH,REJECT-DROP"), errno.ETIMEDOUT),
        (Verdict(DIAL, "direct", "127.0.0.1"), errno.ECONNREFUSED),
    ],
)
def test_deferred_flow_that_goes_to_no_upstream_is_nobody_s_fault(
    suspicions: Suspicions, caplog: pytest.LogCaptureFixture, verdict: Verdict, answer: int
) -> None:
    request = Request()
    suspicions.opener.open(FLOW, deferred(verdict), request)
    suspicions.run(0.01)
    assert request.answers == [answer]
    assert suspicions.heard == []
    assert [each.levelname for each in caplog.records if each.levelno >= logging.WARNING] == []
    assert ("reject" in dict(request.attempts), "drop" in dict(request.attempts)) == (False, False)
