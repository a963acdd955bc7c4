"""What a watcher of flows is told: that they opened, that they are over, why, and what passed."""

import contextlib
import errno
import socket
from collections.abc import Iterator

import pytest

from tests.unit.flow.rig import (
    PATIENCE,
    PORT,
    TARGET,
    Client,
    FakeOpener,
    Rig,
    how_it_ended,
    pack,
    read_exactly,
    reset,
)
from tests.unit.flow.test_conversing import Asker, asked
from tunproxy.flow.codec import Codec
from tunproxy.flow.life import FlowLife
from tunproxy.flow.ports import Decider, FlowWatcher, Opener
from tunproxy.flow.static_decider import StaticDecider
from tunproxy.flow.tap import Tap
from tunproxy.flow.verdict import CONVERSE, DIAL, DROP, OPEN, REJECT, SNIFF, FlowInfo, Verdict


class Notes(Tap):
    """Keeps what it sees, of each direction so much."""

    def __init__(self, up: int, down: int) -> None:
        super().__init__()
        self.up_left = up
        self.down_left = down
        self.seen = {True: b"", False: b""}
        self.calls = 0
        self.reason = ""

    def take(self, is_up: bool, data: bytes | memoryview) -> None:
        self.calls += 1
        self.seen[is_up] += bytes(data)

    def close(self, reason: str) -> None:
        assert not self.reason
        self.reason = reason


class Watcher(FlowWatcher):
    """Keeps what it is told."""

    def __init__(self, notes: Notes | None = None) -> None:
        super().__init__()
        self.open: list[FlowLife] = []
        self.over: list[FlowLife] = []
        self.notes = notes

    def opened(self, life: FlowLife) -> None:
        assert life.opened_at >= life.began_at
        self.open.append(life)

    def closed(self, life: FlowLife) -> None:
        assert life.ended_at >= life.began_at
        self.over.append(life)

    def tap(self, info: FlowInfo) -> Tap | None:
        return self.notes


@contextlib.contextmanager
def watched(
    notes: Notes | None = None, decider: Decider | None = None, opener: Opener | None = None
) -> Iterator[tuple[Rig, Watcher, socket.socket]]:
    """Yield a rig that is watched, who watches, and the listener that is the target."""
    watcher = Watcher(notes)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        maps = {(pack(TARGET), PORT): ("127.0.0.1", listener.getsockname()[1])}
        with contextlib.closing(Rig(maps, decider=decider, opener=opener, watcher=watcher)) as rig:
            yield rig, watcher, listener


def accepted(listener: socket.socket) -> socket.socket:
    target, _ = listener.accept()
    target.settimeout(PATIENCE)
    return target


def test_flow_is_told_as_opened_and_as_closed_with_what_it_carried() -> None:
    with watched() as (rig, watcher, listener):
        client = Client(rig).connect()
        with accepted(listener) as target:
            (life,) = rig.table.lives()
            assert (watcher.open, watcher.over, life.number) == ([life], [], 1)
            assert (life.info.protocol, life.info.target, life.verdict.upstream) == (
                "tcp",
                pack(TARGET),
                "direct",
            )
            client.send(b"request")
            assert read_exactly(rig, target, 7) == b"request"
            target.setblocking(True)
            target.sendall(bytes(100_000))
            rig.until(lambda: len(client.stream) == 100_000)
            assert (life.up, life.down, life.reason) == (7, 100_000, "")
            client.close()
            assert how_it_ended(rig, target) == b""
        rig.until(lambda: watcher.over)
        assert (life.reason, life.up, life.down) == ("closed", 7, 100_000)
        assert watcher.over == [life]
        assert rig.table.lives() == []
        ((where, took, failure),) = life.attempts()
        assert (where, failure) == (f"127.0.0.1:{listener.getsockname()[1]}", "")
        assert 0 <= took < 1_000_000
        rig.pass_time(3)
        assert watcher.over == [life], "once"


def test_flow_in_time_wait_is_over() -> None:
    with watched() as (rig, watcher, listener):
        client = Client(rig).connect()
        target = accepted(listener)
        target.close()
        rig.until(lambda: client.has_fin)
        client.close()
        assert len(rig.table) == 1
        assert [life.reason for life in watcher.over] == ["closed"]
        assert rig.table.lives() == []


def test_flow_that_nobody_watches_has_no_life() -> None:
    with contextlib.closing(Rig()) as rig:
        Client(rig).syn()
        assert rig.table.lives() == []


def test_reset_is_told_with_who_has_reset() -> None:
    with watched() as (rig, watcher, listener):
        client = Client(rig, 40001).connect()
        with accepted(listener):
            client.reset()
            rig.until(lambda: watcher.over)
        client = Client(rig, 40002).connect()
        reset(accepted(listener))
        rig.until(lambda: client.has_rst)
        Client(rig, 40003).connect()
        with accepted(listener):
            rig.table.close()
        assert [life.reason for life in watcher.over] == [
            "reset by client",
            "reset by target",
            "cut: tunproxy has ended",
        ]
        assert [life.number for life in watcher.over] == [1, 2, 3]


def test_target_that_nobody_is_at_is_told_with_the_attempt() -> None:
    with watched() as (rig, watcher, listener):
        port = listener.getsockname()[1]
        listener.close()
        client = Client(rig)
        client.syn()
        rig.until(lambda: client.has_rst)
        (life,) = watcher.over
        assert life.reason == "not reached: connection refused"
        assert [(where, failure) for where, _, failure in life.attempts()] == [
            (f"127.0.0.1:{port}", "connection refused")
        ]
        assert (watcher.open, life.opened_at) == ([], -1)


@pytest.mark.parametrize(("kind", "reason"), [(REJECT, "refused"), (DROP, "dropped")])
def test_flow_that_is_turned_away_is_told_at_once(kind: int, reason: str) -> None:
    with watched(decider=StaticDecider(Verdict(kind, "rules", why="rule 3"))) as (rig, watcher, _):
        Client(rig).syn()
        (life,) = watcher.over
        assert (life.reason, life.verdict.why, life.attempts(), watcher.open) == (reason, "rule 3", [], [])


def test_target_that_may_not_be_dialled_is_told() -> None:
    with watched() as (rig, watcher, _):
        Client(rig, target="127.0.0.9").syn()
        assert [life.reason for life in watcher.over] == ["refused: nobody may be dialled there"]


def test_client_that_gives_up_before_is_told() -> None:
    with watched(decider=StaticDecider(Verdict(OPEN, "web")), opener=FakeOpener()) as (rig, watcher, _):
        client = Client(rig)
        client.syn()
        client.seq -= 1
        assert [life.opened_at for life in rig.table.lives()] == [-1]
        client.reset()
        client.says(4, seq=client.iss + 1)
        assert [life.reason for life in watcher.over] == ["given up by client"]


def test_attempts_of_an_opener_are_kept_and_the_target_s_first_words_are_counted() -> None:
    opener = FakeOpener()
    notes = Notes(-1, -1)
    with watched(notes, StaticDecider(Verdict(OPEN, "web")), opener) as (rig, watcher, _):
        client = Client(rig)
        client.syn()
        request = opener.asked[0].request
        request.tried("192.0.2.1:3128", 12, "connection refused")
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            request.opened(ours, b"hello")
            rig.until(lambda: client.received)
            client.says(16)
            rig.until(lambda: client.stream == b"hello")
            (life,) = watcher.open
            assert life.attempts() == [("192.0.2.1:3128", 12, "connection refused")]
            assert (life.down, notes.seen[False]) == (5, b"hello")
            client.reset()
        assert notes.reason == "reset by client"


def test_proxy_that_refuses_is_an_attempt_in_its_words() -> None:
    asker = Asker(ConnectionRefusedError(errno.ECONNREFUSED, "the proxy says: connection refused"))
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        host, port = proxy.getsockname()
        through = StaticDecider(Verdict(CONVERSE, "work", host, port))
        with watched(decider=through, opener=asker) as (rig, watcher, _):
            Client(rig).syn()
            with asked(rig, proxy) as talking:
                talking.sendall(b"no\n")
                rig.until(lambda: watcher.over)
            (life,) = watcher.over
            assert life.reason == "not reached: connection refused"
            assert [(where, failure) for where, _, failure in life.attempts()] == [
                (f"{host}:{port}", ""),
                ("work", "the proxy says: connection refused"),
            ]


def test_opener_that_had_to_decide_first_says_whom_the_flow_goes_to() -> None:
    opener = FakeOpener()
    with watched(decider=StaticDecider(Verdict(OPEN, "undecided")), opener=opener) as (rig, watcher, _):
        Client(rig).syn()
        opener.asked[0].request.decided(Verdict(OPEN, "work"))
        opener.asked[0].request.failed(errno.EHOSTUNREACH)
        assert [life.verdict.upstream for life in watcher.over] == ["work"]


def test_failure_of_an_opener_is_the_reason() -> None:
    opener = FakeOpener()
    with watched(decider=StaticDecider(Verdict(OPEN, "web")), opener=opener) as (rig, watcher, _):
        Client(rig).syn()
        opener.asked[0].request.failed(errno.EHOSTUNREACH)
        assert [life.reason for life in watcher.over] == ["not reached: no route to host"]


class Hears(Decider):
    """Wants to hear first; the client's first word is the upstream."""

    def decide(self, info: FlowInfo) -> Verdict:
        return Verdict(SNIFF, "undecided")

    def decide_sniffed(self, info: FlowInfo, data: bytes) -> Verdict | None:
        return Verdict(DIAL, data.decode())


def test_flow_that_is_heard_out_has_the_last_verdict_and_one_life() -> None:
    with watched(decider=Hears()) as (rig, watcher, listener):
        client = Client(rig).connect()
        (life,) = rig.table.lives()
        assert life.verdict.kind == SNIFF
        client.send(b"work")
        with accepted(listener) as target:
            assert read_exactly(rig, target, 4) == b"work"
            assert (life.verdict.upstream, watcher.open, life.number) == ("work", [life], 1)


def test_tap_sees_what_passed_in_order_and_no_more_than_it_wants() -> None:
    notes = Notes(-1, 0)
    with watched(notes) as (rig, _, listener):
        client = Client(rig).connect()
        with accepted(listener) as target:
            for word in (b"one", b"two", b"three"):
                client.send(word)
            assert read_exactly(rig, target, 11) == b"onetwothree"
            target.setblocking(True)
            target.sendall(b"answer")
            rig.until(lambda: client.stream == b"answer")
            assert notes.seen == {True: b"onetwothree", False: b""}
            notes.up_left = 0
            calls = notes.calls
            client.send(b"more")
            assert read_exactly(rig, target, 4) == b"more"
            assert notes.calls == calls
            client.close()
        rig.until(lambda: notes.reason)
        assert notes.reason in ("closed", "reset by target")


def test_tap_sees_only_what_the_target_has_taken() -> None:
    notes = Notes(-1, -1)
    with watched(notes) as (rig, _, listener):
        client = Client(rig).connect()
        with accepted(listener) as target:
            data = bytes(range(256)) * 16_000

            def drain() -> None:
                target.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    got.extend(target.recv(65536))

            got = bytearray()
            client.send_all(data, drain=drain)
            rig.until(lambda: drain() or len(got) == len(data))
            assert notes.seen[True] == data == bytes(got)


class Caesar(Codec):
    """Turns each octet around, which is its own inverse."""

    def encode(self, data: bytes | memoryview) -> bytes:
        return bytes(octet ^ 0xFF for octet in data)

    def decode(self, data: bytes) -> bytes:
        return bytes(octet ^ 0xFF for octet in data)


def test_tap_sees_a_coded_stream_in_the_clear() -> None:
    notes = Notes(-1, -1)
    opener = FakeOpener()
    with watched(notes, StaticDecider(Verdict(OPEN, "web")), opener) as (rig, watcher, _):
        client = Client(rig)
        client.syn()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.settimeout(PATIENCE)
        with theirs:
            opener.asked[0].request.opened(ours, b"", Caesar())
            rig.until(lambda: client.received)
            client.send(b"secret")
            assert read_exactly(rig, theirs, 6) == bytes(octet ^ 0xFF for octet in b"secret")
            theirs.setblocking(True)
            theirs.sendall(bytes(octet ^ 0xFF for octet in b"answer"))
            rig.until(lambda: client.stream == b"answer")
            assert notes.seen == {True: b"secret", False: b"answer"}
            assert [(life.up, life.down) for life in watcher.open] == [(6, 6)]


def test_flow_is_closed_by_hand_on_both_sides_and_no_other() -> None:
    with watched() as (rig, watcher, listener):
        client = Client(rig).connect()
        with accepted(listener) as target:
            (life,) = rig.table.lives()
            assert rig.table.end(frozenset({int(life.number) + 1})) == 0
            assert rig.table.lives() == [life]
            assert rig.table.end(frozenset({int(life.number)})) == 1
            assert [each.reason for each in watcher.over] == ["cut: closed by hand"]
            rig.until(lambda: client.has_rst)
            with pytest.raises(ConnectionResetError):
                target.recv(1)
        assert rig.table.end(None) == 0
