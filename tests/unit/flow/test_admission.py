"""A SYN flood: few embryos, cookies beyond them, evictions, and room for those who mean it.

Rigs here have room for few flows, so that two or three clients who never acknowledge are a flood.
"""

import contextlib
import errno
import socket
from collections.abc import Iterator

import dpkt  # type: ignore[import-untyped]
import pytest

from tests.unit.flow.rig import PORT, TARGET, Client, FakeOpener, Rig, how_it_ended, pack, read_exactly
from tunproxy.flow.admission import PATIENCE
from tunproxy.flow.ports import Decider, SocketMaker
from tunproxy.flow.static_decider import StaticDecider
from tunproxy.flow.verdict import DIAL, DROP, OPEN, REJECT, FlowInfo, Verdict
from tunproxy.tcp.cookie import LIFETIME
from tunproxy.upstream.sockets import KernelSockets
from tunproxy.wire.tcp import ACK, FIN, RST, SYN

SECOND = 1_000_000  # µs
LATE = PATIENCE + 1


class Scarce(SocketMaker):
    """Has no more than a number of sockets open at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._made: list[socket.socket] = []

    def tcp(self, family: int) -> socket.socket:
        self._made = [sock for sock in self._made if sock.fileno() >= 0]
        if len(self._made) >= self._most:
            raise OSError(errno.EMFILE, "too many open files")
        self._made.append(KernelSockets(0, "").tcp(family))
        return self._made[-1]


class Changing(Decider):
    """Says what the test wants next."""

    def __init__(self) -> None:
        self.verdict = Verdict(OPEN, "proxy")

    def decide(self, info: FlowInfo) -> Verdict:
        return self.verdict


@contextlib.contextmanager
def listening(
    *, max_flows: int = 4, sockets: SocketMaker | None = None
) -> Iterator[tuple[Rig, socket.socket]]:
    """Yield a rig with room for few flows, half of them embryos, and the listener that is TARGET."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        listener.settimeout(5)
        maps = {(pack(TARGET), PORT): listener.getsockname()}
        with contextlib.closing(Rig(maps, max_flows=max_flows, sockets=sockets)) as rig:
            yield rig, listener


@contextlib.contextmanager
def opening(max_flows: int = 4) -> Iterator[tuple[Rig, FakeOpener, Changing]]:
    """Yield a rig whose flows wait for an opener."""
    opener, decider = FakeOpener(), Changing()
    with contextlib.closing(Rig(decider=decider, opener=opener, max_flows=max_flows)) as rig:
        yield rig, opener, decider


def flood(rig: Rig, count: int, port: int = 1000) -> list[Client]:
    """Send SYNs that nobody follows up; those who get an answer have it when this returns."""
    clients = [Client(rig, port=port + number) for number in range(count)]
    with rig.at_once():
        for client in clients:
            client.syn()
    rig.run(0.03)
    return clients


def embryos(rig: Rig) -> int:
    return len(rig.table._context.embryos)


# cookies


def test_beyond_the_bound_a_syn_is_answered_and_forgotten() -> None:
    with opening() as (rig, opener, _):
        flood(rig, 2)
        late = Client(rig)
        late.syn()
        assert [answer.names for answer in late.received] == ["SYN ACK"]
        assert late.received[0].ack == late.iss + 1
        assert (len(rig.table), len(opener.asked), embryos(rig)) == (2, 2, 2)
        assert (rig.counters.cookies_sent, rig.drops()) == (1, {})


def test_flood_keeps_nothing_beyond_the_bound() -> None:
    with opening() as (rig, opener, _):
        flood(rig, 3000)
        assert (len(rig.table), len(opener.asked), rig.counters.cookies_sent) == (2, 2, 2998)


@pytest.mark.parametrize("ts_val", [-1, 77])
def test_cookie_brought_back_is_a_connection(ts_val: int) -> None:
    with listening() as (rig, listener):
        flood(rig, 2)
        client = Client(rig, ts_val=ts_val).connect()
        assert rig.counters.cookies_accepted == 1
        client.send(b"hello")
        for _ in range(2):
            listener.accept()[0].close()  # of the flood
        with listener.accept()[0] as target:
            assert read_exactly(rig, target, 5) == b"hello"
            target.sendall(b"welcome")
            rig.until(lambda: client.stream == b"welcome")
            client.close()
            assert how_it_ended(rig, target) == b""
        rig.until(lambda: client.has_fin)
        assert not client.has_rst


@pytest.mark.parametrize("ts_val", [-1, 77])
def test_options_survive_where_timestamps_carry_them(ts_val: int) -> None:
    with opening() as (rig, _, _):
        flood(rig, 2)
        client = Client(rig, ts_val=ts_val, wnd_shift=9, mss=1400).connect()
        offered = client.received[0].options
        has_ts = ts_val >= 0
        assert (dpkt.tcp.TCP_OPT_WSCALE in offered) == has_ts
        assert (dpkt.tcp.TCP_OPT_SACKOK in offered) == has_ts
        conn = rig.table._context.flows[next(reversed(rig.table._context.flows))].conn
        assert (conn.snd_shift, conn.sack_on, conn.ts_on) == (9 if has_ts else 0, has_ts, has_ts)
        assert conn.snd_wnd == 0xFFFF << conn.snd_shift
        assert conn.snd_mss == 1360 - 12 * has_ts


def test_what_the_client_says_meanwhile_waits_and_is_acknowledged() -> None:
    with opening() as (rig, opener, _), socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        flood(rig, 2)
        client = Client(rig).connect()
        client.send(b"request")
        client.close()
        rig.until(lambda: client.peer_ack == client.seq)  # the FIN as well
        ours = socket.create_connection(server.getsockname())
        ours.setblocking(False)
        opener.asked[2].request.opened(ours)
        with server.accept()[0] as target:
            assert how_it_ended(rig, target) == b"request"
            target.sendall(b"answer")
        rig.until(lambda: client.has_fin)
        assert client.stream == b"answer"


def test_what_waits_is_bounded_by_the_window() -> None:
    with opening() as (rig, opener, _):
        flood(rig, 2)
        client = Client(rig, ts_val=1).connect()
        sent = 0
        for _ in range(200):
            room = client.peer_ack + client.peer_wnd - client.seq if sent else 0xFFFF
            client.send(bytes(min(room, 60_000)))
            sent += min(room, 60_000)
            rig.ahead += SECOND // 100  # a delayed acknowledgment is due
            rig.turn()
        assert client.peer_wnd == 0
        assert rig.settings.rcv_buf // 2 < sent <= rig.settings.rcv_buf + (1 << 16)
        assert len(opener.asked) == 3


def test_data_that_brings_the_cookie_arrives() -> None:
    """The bare ACK was lost."""
    with listening() as (rig, listener):
        flood(rig, 2)
        client = Client(rig)
        client.syn()
        client.send(b"at once")
        for _ in range(2):
            listener.accept()[0].close()
        with listener.accept()[0] as target:
            assert read_exactly(rig, target, 7) == b"at once"


@pytest.mark.parametrize("error", [errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ETIMEDOUT])
def test_target_that_cannot_be_reached_is_a_reset(error: int) -> None:
    with opening() as (rig, opener, _):
        flood(rig, 2)
        client = Client(rig).connect()
        client.send(b"hello")
        opener.asked[2].request.failed(error)
        rig.run(0.01)
        assert client.received[-1].names == "RST ACK"
        assert (client.received[-1].seq, client.received[-1].ack) == (client.ack, client.seq)
        assert (len(rig.table), rig.other_frames) == (2, [])


def test_target_that_refuses_at_once_is_one_reset() -> None:
    with listening() as (rig, listener):
        flood(rig, 2)
        listener.close()
        client = Client(rig)
        client.syn()
        client.says(ACK)
        rig.until(lambda: client.has_rst)
        assert [answer.names for answer in client.received] == ["SYN ACK", "RST ACK"]
        assert rig.counters.flows_refused == 1


@pytest.mark.parametrize("kind", [REJECT, DROP])
def test_verdict_against_the_flow_is_a_reset(kind: int) -> None:
    with opening() as (rig, _, decider):
        flood(rig, 2)
        decider.verdict = Verdict(kind, "no")
        client = Client(rig)
        client.syn()
        client.says(ACK)
        assert [answer.names for answer in client.received] == ["SYN ACK", "RST ACK"]
        assert (len(rig.table), rig.drops()) == (2, {"rejected": 1})


def test_martian_target_is_never_dialled_for_a_cookie() -> None:
    with opening() as (rig, _, decider):
        flood(rig, 2)
        decider.verdict = Verdict(DIAL, "direct")
        client = Client(rig, target="127.0.0.1")
        client.syn()
        client.says(ACK)
        assert client.has_rst
        assert (len(rig.table), rig.drops()) == (2, {"martian-target": 1})


def test_client_that_resets_while_its_target_is_dialled_ends_the_flow() -> None:
    with opening() as (rig, opener, _):
        flood(rig, 2)
        client = Client(rig).connect()
        client.reset()
        assert opener.cancelled == [opener.asked[2].request]
        assert len(rig.table) == 2


def test_flow_with_a_cookie_is_no_embryo_and_outlives_the_flood() -> None:
    with opening(max_flows=4) as (rig, opener, _):
        flood(rig, 2)
        client = Client(rig).connect()
        for _ in range(5):
            rig.ahead += LATE
            flood(rig, 20)
        assert opener.asked[2].request not in opener.cancelled
        assert not client.has_rst


def test_syn_again_is_answered_as_the_first_time() -> None:
    """The first answer may be under way still: a second one with another number would break the flow."""
    with listening() as (rig, _):
        first, second = flood(rig, 2)
        client = Client(rig)
        client.syn()
        first.reset()
        second.reset()
        rig.run(0.01)
        client.seq = client.iss
        client.syn()
        rig.until(lambda: len(client.received) == 2)
        assert rig.counters.cookies_sent == 1
        assert client.received[0].seq == client.received[1].seq


# forgeries


def test_forged_ack_is_reset_and_counted() -> None:
    with opening() as (rig, opener, _):
        flood(rig, 3)
        client = Client(rig)
        client.says(ACK, b"let me in", ack=4711)
        assert [(answer.names, answer.seq) for answer in client.received] == [("RST", 4711)]
        assert (rig.counters.cookies_refused, rig.counters.cookies_accepted) == (1, 0)
        assert (len(opener.asked), rig.drops()) == (2, {"no-flow": 1})


@pytest.mark.parametrize("flags", [FIN, SYN | ACK])
def test_right_number_with_wrong_flags_is_reset(flags: int) -> None:
    with opening() as (rig, opener, _):
        flood(rig, 2)
        client = Client(rig)
        client.syn()
        client.says(flags)
        assert client.has_rst
        assert len(opener.asked) == 2


def test_first_data_again_after_the_end_is_not_delivered_again() -> None:
    """A copy of it was under way while the target ended the connection."""
    with opening() as (rig, opener, _):
        flood(rig, 2)
        client = Client(rig).connect()
        first = client.frame(ACK, b"pay 100")
        opener.asked[2].request.failed(errno.ECONNREFUSED)
        rig.give(first)
        assert client.received[-1].names == "RST"
        assert (len(opener.asked), rig.counters.cookies_refused) == (3, 1)


def test_reset_is_no_cookie() -> None:
    with opening() as (rig, opener, _):
        flood(rig, 2)
        client = Client(rig)
        client.syn()
        client.says(RST | ACK)
        assert (len(client.received), len(opener.asked)) == (1, 2)


def test_old_cookie_is_reset() -> None:
    with opening() as (rig, opener, _):
        flood(rig, 2)
        client = Client(rig)
        client.syn()
        rig.ahead += LIFETIME + SECOND
        flood(rig, 3, port=2000)  # so that cookies are out again
        client.says(ACK)
        assert client.has_rst
        assert (rig.counters.cookies_refused, len(opener.asked)) == (1, 4)


def test_long_after_a_flood_nobody_looks_for_cookies() -> None:
    with opening() as (rig, _, _):
        flood(rig, 3)
        rig.ahead += LIFETIME + SECOND
        client = Client(rig)
        client.says(ACK, ack=4711)
        assert client.has_rst
        assert (rig.counters.cookies_refused, rig.drops()) == (0, {"no-flow": 1})


# evictions


def test_client_that_answers_is_no_embryo_any_more() -> None:
    with listening() as (rig, _):
        for number in range(4):
            assert embryos(rig) == 0
            Client(rig, port=40000 + number).connect()
        assert rig.counters.cookies_sent == 0


@pytest.mark.parametrize("how", ["reset", "refused"])
def test_embryo_that_ends_makes_room(how: str) -> None:
    with opening() as (rig, opener, _):
        client, _ = flood(rig, 2)
        if how == "reset":
            client.reset()
        else:
            opener.asked[0].request.failed(errno.ECONNREFUSED)
        assert embryos(rig) == 1
        Client(rig).syn()
        assert (len(opener.asked), rig.counters.cookies_sent) == (3, 0)


def test_old_embryo_that_is_dialled_makes_room_and_hears_nothing() -> None:
    with opening() as (rig, opener, _):
        first, _ = flood(rig, 2)
        rig.ahead += LATE
        Client(rig).syn()
        assert opener.cancelled == [opener.asked[0].request]
        assert (len(opener.asked), embryos(rig), len(rig.table)) == (3, 2, 2)
        assert (rig.counters.flows_evicted, rig.counters.cookies_sent) == (1, 0)
        assert first.received == []


def test_old_embryo_whose_target_has_answered_makes_room_and_its_target_is_reset() -> None:
    with listening() as (rig, listener):
        first, _ = flood(rig, 2)
        rig.ahead += LATE
        target = listener.accept()[0]
        listener.accept()[0].close()
        client = Client(rig).connect()
        assert (rig.counters.flows_evicted, rig.counters.cookies_sent) == (1, 0)
        assert how_it_ended(rig, target) == "reset"
        assert not first.has_rst
        with listener.accept()[0] as reached:
            client.send(b"hello")
            assert read_exactly(rig, reached, 5) == b"hello"


def test_young_embryo_is_left_alone() -> None:
    """A flood that evicted at once would dial without end."""
    with opening() as (rig, opener, _):
        flood(rig, 2)
        rig.ahead += PATIENCE // 2
        flood(rig, 50, port=2000)
        assert (len(opener.asked), rig.counters.flows_evicted) == (2, 0)


def test_client_that_answers_in_the_same_batch_is_not_evicted() -> None:
    with listening() as (rig, listener):
        first, second = flood(rig, 2)
        rig.ahead += LATE
        late = Client(rig)
        rig.give(first.frame(ACK), second.frame(ACK), late.frame(SYN, ack=0))
        late.seq += 1
        rig.until(lambda: late.received)
        assert rig.counters.flows_evicted == 0
        targets = [listener.accept()[0] for _ in range(2)]
        for client, target in zip((first, second), targets, strict=True):
            client.send(b"here")
            assert read_exactly(rig, target, 4) == b"here"
            target.close()


# descriptors


def test_out_of_descriptors_an_embryo_gives_its_own_to_a_client_with_a_cookie() -> None:
    with listening(max_flows=100, sockets=Scarce(2)) as (rig, listener):
        settled = Client(rig, port=40001).connect()
        served = listener.accept()[0]
        flood(rig, 1)
        flooded = listener.accept()[0]
        client = Client(rig).connect()
        assert (rig.counters.cookies_sent, rig.counters.flows_evicted) == (1, 1)
        assert how_it_ended(rig, flooded) == "reset"
        for who, target in ((client, listener.accept()[0]), (settled, served)):
            who.send(b"hello")
            assert read_exactly(rig, target, 5) == b"hello"
            target.close()
        assert rig.drops() == {}


def test_out_of_descriptors_an_old_embryo_gives_its_own_to_a_syn() -> None:
    with listening(max_flows=100, sockets=Scarce(1)) as (rig, _):
        flood(rig, 1)
        rig.ahead += LATE
        Client(rig).connect()
        assert (rig.counters.cookies_sent, rig.counters.flows_evicted) == (0, 1)


def test_out_of_descriptors_and_of_embryos_a_cookie_is_refused() -> None:
    with listening(max_flows=100, sockets=Scarce(1)) as (rig, listener):
        (settled,) = flood(rig, 1)
        client = Client(rig)
        client.syn()
        settled.says(ACK)
        client.says(ACK)
        assert [answer.names for answer in client.received] == ["SYN ACK", "RST ACK"]
        assert rig.drops() == {"upstream-full": 1}
        with listener.accept()[0] as target:
            settled.send(b"still here")
            assert read_exactly(rig, target, 10) == b"still here"


def test_table_full_of_established_flows_refuses_a_cookie_and_cuts_none() -> None:
    with listening(max_flows=2) as (rig, listener):
        first = Client(rig, port=40001).connect()
        (second,) = flood(rig, 1)
        late = Client(rig)
        late.syn()
        second.says(ACK)
        late.says(ACK)
        assert [answer.names for answer in late.received] == ["SYN ACK", "RST ACK"]
        assert (len(rig.table), rig.drops()) == (2, {"table-full": 1})
        for client in (first, second):
            with listener.accept()[0] as target:
                client.send(b"still here")
                assert read_exactly(rig, target, 10) == b"still here"


def test_table_full_an_embryo_makes_room_for_a_client_with_a_cookie() -> None:
    with listening(max_flows=2) as (rig, listener):
        Client(rig, port=40001).connect()
        listener.accept()[0].close()
        flood(rig, 1)
        flooded = listener.accept()[0]
        Client(rig).connect()
        assert (rig.counters.cookies_accepted, rig.counters.flows_evicted, rig.drops()) == (1, 1, {})
        assert how_it_ended(rig, flooded) == "reset"


def test_after_the_flood_nothing_is_left() -> None:
    with listening(max_flows=100) as (rig, _):
        flood(rig, 200)
        rig.pass_time(190)  # the SYN, ACK is sent again seven times
        assert (len(rig.table), embryos(rig), rig.poller.watched) == (0, 0, 0)


def test_verdicts_of_embryos_are_asked_once() -> None:
    class Counting(Decider):
        asked = 0

        def decide(self, info: FlowInfo) -> Verdict:
            self.asked += 1
            return Verdict(OPEN, "proxy")

    decider = Counting()
    with contextlib.closing(Rig(decider=decider, opener=FakeOpener(), max_flows=4)) as rig:
        flood(rig, 100)
        assert decider.asked == 2


def test_static_decider_does_for_cookies_too() -> None:
    opener = FakeOpener()
    rig = Rig(decider=StaticDecider(Verdict(OPEN, "proxy")), opener=opener, max_flows=4)
    with contextlib.closing(rig):
        flood(rig, 2)
        client = Client(rig).connect()
        assert str(opener.asked[2].info) == f"tcp 10.0.0.2:40000 -> {TARGET}:{PORT}"
        assert not client.has_rst
