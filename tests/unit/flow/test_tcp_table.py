"""The table of TCP flows: new ones, strays, forged ones, and the limits."""

import contextlib
import errno
import itertools
import socket
from collections.abc import Iterator

import dpkt  # type: ignore[import-untyped]
import pytest

from tests.unit.flow.rig import (
    PORT,
    TARGET,
    Client,
    FakeOpener,
    Rig,
    connected,
    how_it_ended,
    listening,
    pack,
    read_exactly,
)
from tunproxy.flow.admission import MAX_EMBRYOS
from tunproxy.flow.ports import Decider, FlowGuard, SocketMaker
from tunproxy.flow.static_decider import StaticDecider
from tunproxy.flow.verdict import DIAL, DROP, OPEN, REJECT, FlowInfo, Verdict
from tunproxy.upstream.sockets import KernelSockets
from tunproxy.wire.icmp_quote import TooBig
from tunproxy.wire.tcp import ACK, FIN, RST, SYN
from tunproxy.wire.vnet import PLAIN, gso_size


@contextlib.contextmanager
def deciding(verdict: Verdict) -> Iterator[Rig]:
    with contextlib.closing(Rig(decider=StaticDecider(verdict))) as rig:
        yield rig


# new flows


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_syn_is_answered_only_when_the_target_has_accepted(family: int) -> None:
    with listening(family) as (rig, listener):
        client = Client(rig, target="2001:db8::7" if family == socket.AF_INET6 else TARGET)
        client.syn()
        assert client.received == []
        assert len(rig.table) == 1
        rig.until(lambda: client.received)
        (answer,) = client.received
        assert (answer.names, answer.ack) == ("SYN ACK", client.iss + 1)
        assert rig.counters.flows_opened == 1
        client.says(ACK)
        with listener.accept()[0] as target:
            client.send(b"hello")
            assert read_exactly(rig, target, 5) == b"hello"


def test_syn_options_are_answered_in_kind() -> None:
    with listening() as (rig, _):
        client = Client(rig, ts_val=77)
        client.syn()
        rig.until(lambda: client.received)
        options = client.received[0].options
        assert set(options) >= {
            dpkt.tcp.TCP_OPT_MSS,
            dpkt.tcp.TCP_OPT_WSCALE,
            dpkt.tcp.TCP_OPT_SACKOK,
            dpkt.tcp.TCP_OPT_TIMESTAMP,
        }
        assert options[dpkt.tcp.TCP_OPT_TIMESTAMP][4:] == (77).to_bytes(4, "big")


def test_syn_initial_numbers_differ_between_flows() -> None:
    with listening() as (rig, _):
        clients = [Client(rig, port=40000 + number).connect() for number in range(20)]
        numbers = sorted(client.received[0].seq for client in clients)
        gaps = [after - before for before, after in itertools.pairwise(numbers)]
        assert min(gaps) > 0
        assert max(gaps) > 1 << 24


def test_syn_refused_by_the_target_is_reset() -> None:
    with listening() as (rig, listener):
        listener.close()
        client = Client(rig)
        client.syn()
        rig.until(lambda: client.received)
        (answer,) = client.received
        assert (answer.names, answer.seq, answer.ack) == ("RST ACK", 0, client.iss + 1)
        assert (len(rig.table), rig.poller.watched) == (0, 0)
        assert rig.counters.flows_refused == 1


def test_syn_again_while_dialling_opens_nothing_more() -> None:
    with listening() as (rig, listener):
        client = Client(rig)
        syn = client.frame(SYN, ack=0)
        client.seq += 1
        rig.give(syn, syn, syn)
        assert len(rig.table) == 1
        rig.until(lambda: client.received)
        client.says(ACK)
        rig.run()
        listener.accept()[0].close()
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_syn_with_ip_options_belongs_to_the_same_flow() -> None:
    with listening() as (rig, listener):
        client = Client(rig).connect()
        packet = dpkt.ip.IP(client.frame(ACK, b"hello")[len(PLAIN) :])
        packet.opts = b"\1\1\1\0"
        packet.hl, packet.sum = 6, 0
        packet.data.sum = 0
        rig.give(PLAIN + bytes(packet))
        with listener.accept()[0] as target:
            assert read_exactly(rig, target, 5) == b"hello"
        assert len(rig.table) == 1


# decisions


def test_verdict_reject_is_a_reset() -> None:
    with deciding(Verdict(REJECT, "no")) as rig:
        client = Client(rig)
        client.syn()
        assert [answer.names for answer in client.received] == ["RST ACK"]
        assert (len(rig.table), rig.drops()) == (0, {"rejected": 1})


def test_verdict_drop_is_silence() -> None:
    with deciding(Verdict(DROP, "no")) as rig:
        client = Client(rig)
        client.syn()
        rig.run()
        assert (client.received, len(rig.table), rig.drops()) == ([], 0, {"rejected": 1})


@pytest.mark.parametrize("port", [0, 1])
def test_verdict_dial_another_address_dials_that(port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        there = listener.getsockname()[1]
        with deciding(Verdict(DIAL, "other", "127.0.0.1", there if port else 0)) as rig:
            client = Client(rig, target_port=there if port == 0 else PORT).connect()
            listener.accept()[0].close()
            rig.until(lambda: client.has_fin)


def test_decider_is_asked_with_both_ends() -> None:
    class Curious(Decider):
        def __init__(self) -> None:
            self.asked: list[str] = []

        def decide(self, info: FlowInfo) -> Verdict:
            self.asked.append(str(info))
            return Verdict(DIAL, "direct")

    decider = Curious()
    with contextlib.closing(Rig(decider=decider)) as rig:
        client = Client(rig, target="127.0.0.1")
        client.syn()
        assert client.has_rst
    assert decider.asked == ["tcp 10.0.0.2:40000 -> 127.0.0.1:80"]


# targets that are none


@pytest.mark.parametrize(
    "target",
    ["127.0.0.1", "127.1.2.3", "0.0.0.0", "240.0.0.1", "::1", "::", "::ffff:127.0.0.1", "::ffff:8.8.8.8"],
)
def test_martian_target_is_never_dialled_but_reset(target: str) -> None:
    with contextlib.closing(Rig()) as rig:
        client = Client(rig, target=target)
        client.syn()
        rig.run(0.02)
        assert [answer.names for answer in client.received] == ["RST ACK"]
        assert (len(rig.table), rig.drops()) == (0, {"martian-target": 1})


@pytest.mark.parametrize("target", ["224.0.0.1", "255.255.255.255", "ff02::1"])
def test_multicast_target_is_ignored(target: str) -> None:
    with contextlib.closing(Rig()) as rig:
        client = Client(rig, target=target)
        client.syn()
        assert (client.received, len(rig.table), rig.drops()) == ([], 0, {"multicast": 1})


def test_multicast_client_is_ignored() -> None:
    with contextlib.closing(Rig()) as rig:
        client = Client(rig, address="224.0.0.5")
        client.syn()
        assert (client.received, rig.drops()) == ([], {"multicast": 1})


MARTIANS = ["127.0.0.1", "0.0.0.0", "0.1.2.3", "240.0.0.1", "::1", "::", "::ffff:10.0.0.1"]


@pytest.mark.parametrize("address", MARTIANS)
def test_martian_client_is_never_dialled_for_nor_answered(address: str) -> None:
    target = "2001:db8::7" if ":" in address else TARGET
    with contextlib.closing(Rig({(pack(target), 0): ("127.0.0.1", 9)})) as rig:
        client = Client(rig, target=target, address=address)
        client.syn()
        client.says(ACK, b"x")
        client.says(RST)
        assert (client.received, len(rig.table), rig.poller.watched) == ([], 0, 0)
        assert rig.drops() == {"martian-source": 3}


@pytest.mark.parametrize("address", ["255.255.255.255", "224.0.0.5", "ff02::1"])
def test_stray_from_a_group_is_not_answered(address: str) -> None:
    with contextlib.closing(Rig()) as rig:
        client = Client(rig, target="2001:db8::7" if ":" in address else TARGET, address=address)
        client.says(ACK, b"x")
        assert (client.received, rig.drops()) == ([], {"multicast": 1})


def test_martian_client_with_a_cookie_gets_no_flow() -> None:
    with contextlib.closing(Rig(max_flows=2)) as rig:
        rig.table._cookies_until = rig.now() + 10_000_000
        client = Client(rig, address="127.0.0.1")
        client.says(ACK, ack=1)
        assert (client.received, rig.drops(), rig.counters.cookies_refused) == ([], {"martian-source": 1}, 0)


def test_land_packet_is_ignored() -> None:
    with contextlib.closing(Rig()) as rig:
        client = Client(rig, port=PORT, address=TARGET)
        client.syn()
        assert (client.received, rig.drops()) == ([], {"land": 1})


# segments of no flow


def test_stray_with_ack_is_reset_at_its_ack() -> None:
    with contextlib.closing(Rig()) as rig:
        client = Client(rig)
        client.says(ACK, b"anybody?", ack=4711)
        (answer,) = client.received
        assert (answer.names, answer.seq) == ("RST", 4711)
        assert rig.drops() == {"no-flow": 1}


def test_stray_without_ack_is_reset_behind_it() -> None:
    with contextlib.closing(Rig()) as rig:
        client = Client(rig)
        client.says(FIN, b"anybody?", ack=0)
        (answer,) = client.received
        assert (answer.names, answer.seq, answer.ack) == ("RST ACK", 0, client.iss + 9)


def test_stray_reset_is_not_answered() -> None:
    with contextlib.closing(Rig()) as rig:
        client = Client(rig)
        client.says(RST)
        client.says(RST | ACK)
        client.says(RST | SYN)
        assert (client.received, rig.drops()) == ([], {"no-flow": 3})


def test_stray_syn_with_ack_is_reset() -> None:
    with contextlib.closing(Rig()) as rig:
        client = Client(rig)
        client.says(SYN | ACK, ack=4711)
        assert [answer.names for answer in client.received] == ["RST"]
        assert len(rig.table) == 0


def test_segment_after_the_flow_has_ended_is_reset() -> None:
    with connected() as (rig, client, target):
        client.reset()
        client.send(b"too late")
        assert client.received[-1].names == "RST"
        assert how_it_ended(rig, target) == "reset"


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [(32, 0x40, "bad-offset"), (32, 0xF0, "bad-offset"), (36, 0xFF, "bad-checksum")],
)
def test_bad_segment_is_counted_and_changes_nothing(at: int, value: int, reason: str) -> None:
    with connected() as (rig, client, target):
        packet = dpkt.ip.IP(client.frame(ACK, b"bad")[len(PLAIN) :])
        packet.data.sum = 0
        frame = bytearray(PLAIN + bytes(packet))
        frame[len(PLAIN) + at] = value
        rig.give(bytes(frame))
        assert rig.drops() == {reason: 1}
        client.send(b"good")
        assert read_exactly(rig, target, 4) == b"good"


# limits


def test_table_full_syn_is_left_unanswered_until_there_is_room() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        maps = {(pack(TARGET), 0): listener.getsockname()}
        with contextlib.closing(Rig(maps, max_flows=2)) as rig:
            first, _ = [Client(rig, port=port).connect() for port in (40000, 40001)]
            late = Client(rig, port=40002)
            late.syn()
            rig.run(0.02)
            assert (late.received, rig.drops()) == ([], {"table-full": 1})
            first.reset()
            late.seq = late.iss
            late.connect()


def test_too_many_opening_syn_gets_a_cookie_until_there_is_room() -> None:
    opener = FakeOpener()
    with contextlib.closing(Rig(decider=StaticDecider(Verdict(OPEN, "proxy")), opener=opener)) as rig:
        with rig.at_once():
            for number in range(int(MAX_EMBRYOS) + 1):
                client = Client(rig, port=1 + number)
                client.syn()
        assert len(rig.table) == MAX_EMBRYOS
        assert [answer.names for answer in client.received] == ["SYN ACK"]
        assert (rig.counters.cookies_sent, rig.drops()) == (1, {})
        opener.asked[0].request.failed(errno.ETIMEDOUT)
        client.seq = client.iss
        client.syn()
        assert len(rig.table) == MAX_EMBRYOS
        assert len(opener.asked) == MAX_EMBRYOS + 1


def test_out_of_descriptors_syn_is_left_unanswered_and_flows_go_on() -> None:
    class Scarce(SocketMaker):
        left = 1

        def tcp(self, family: int) -> socket.socket:
            if self.left == 0:
                raise OSError(errno.EMFILE, "too many open files")
            self.left -= 1
            return KernelSockets(0, "").tcp(family)

    sockets = Scarce()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        maps = {(pack(TARGET), 0): listener.getsockname()}
        with contextlib.closing(Rig(maps, sockets=sockets)) as rig:
            first = Client(rig).connect()
            late = Client(rig, port=40001)
            late.syn()
            rig.run(0.02)
            assert (late.received, len(rig.table), rig.drops()) == ([], 1, {"upstream-full": 1})
            with listener.accept()[0] as target:
                first.send(b"still here")
                assert read_exactly(rig, target, 10) == b"still here"
            sockets.left = 1
            late.seq = late.iss
            late.connect()


def test_two_hundred_flows_at_once_keep_apart() -> None:
    with listening(backlog=300) as (rig, listener):
        clients = [Client(rig, port=40000 + number) for number in range(200)]
        for client in clients:
            client.syn()
        rig.until(lambda: all(client.received for client in clients))
        for number, client in enumerate(clients):
            client.says(ACK)
            client.send(number.to_bytes(2, "big"))
        targets = [listener.accept()[0] for _ in clients]
        for target in targets:
            target.sendall(read_exactly(rig, target, 2))
            target.close()
        rig.until(lambda: all(client.has_fin for client in clients))
        assert [client.stream for client in clients] == [n.to_bytes(2, "big") for n in range(200)]
        for client in clients:
            client.close()
        rig.pass_time(3)
        assert (len(rig.table), rig.poller.watched) == (0, 0)


# the same ports again


@contextlib.contextmanager
def waiting(ts_val: int = -1) -> Iterator[tuple[Rig, Client, socket.socket]]:
    """Yield a rig with one flow in TIME-WAIT, its client, and the listener."""
    with listening() as (rig, listener):
        client = Client(rig, ts_val=ts_val).connect()
        listener.accept()[0].close()
        rig.until(lambda: client.has_fin)
        client.close()
        rig.run(0.02)
        assert (len(rig.table), rig.poller.watched) == (1, 0)
        yield rig, client, listener


@pytest.mark.parametrize(("ts_val", "step"), [(-1, 0), (100, 1)])
def test_time_wait_new_syn_is_a_new_flow(ts_val: int, step: int) -> None:
    with waiting(ts_val) as (rig, client, listener):
        before = client.received[0].seq
        again = Client(rig, seq=client.seq + 50, ts_val=ts_val + step).connect()
        assert again.received[0].seq != before
        with listener.accept()[0] as target:
            again.send(b"again")
            assert read_exactly(rig, target, 5) == b"again"
        assert not again.has_rst
        assert len(rig.table) == 1


def test_time_wait_newer_timestamp_with_a_lower_number_is_a_new_flow() -> None:
    with waiting(100) as (rig, client, _):
        assert Client(rig, seq=client.seq - 500_000, ts_val=101).connect().received[0].names == "SYN ACK"


def test_time_wait_old_syn_is_no_new_flow() -> None:
    with waiting() as (rig, client, listener):
        old = Client(rig, seq=client.iss - 100)
        old.syn()
        rig.run(0.02)
        assert [answer.names for answer in old.received] == ["ACK"]
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_time_wait_passes_flow_is_gone() -> None:
    with waiting() as (rig, _, _):
        rig.pass_time(3)
        assert len(rig.table) == 0


def test_established_syn_again_is_challenged_and_harmless() -> None:
    with connected() as (rig, client, target):
        client.says(SYN, seq=client.seq + 5)
        assert client.received[-1].names == "ACK"
        client.send(b"still here")
        assert read_exactly(rig, target, 10) == b"still here"


# the end


def test_close_resets_every_flow_on_both_sides() -> None:
    with listening() as (rig, listener):
        clients = [Client(rig, port=40000 + number).connect() for number in range(3)]
        dialling = Client(rig, port=50000)
        dialling.syn()
        targets = [listener.accept()[0] for _ in clients]
        rig.table.close()
        rig.hand_out()
        assert all(client.has_rst for client in [*clients, dialling])
        assert [how_it_ended(rig, target) for target in targets] == ["reset"] * 3
        assert (len(rig.table), rig.poller.watched) == (0, 0)


# what routers say


def test_router_that_cannot_pass_a_packet_on_gets_smaller_ones() -> None:
    with connected() as (rig, client, target):
        client.is_acking = False
        target.sendall(bytes(20_000))
        rig.until(lambda: client.received[-1].data)
        seq = next(segment.seq for segment in client.received if segment.data)
        client.received.clear()
        rig.table.on_too_big(too_big(client, seq, 600), rig.now())
        rig.table.end_batch(rig.now())
        sizes = [gso_size(frame) for frame in rig.sink.frames if len(frame) > 600]
        assert sizes, "what was under way is sent again at once"
        assert max(sizes) == 600 - 40
        rig.hand_out()


def test_report_about_nothing_that_is_under_way_changes_nothing() -> None:
    with connected() as (rig, client, target):
        target.sendall(bytes(2000))
        rig.until(lambda: len(client.stream) == 2000)
        for report in (too_big(client, client.ack + 5000, 600), too_big(Client(rig, port=9), 1, 600)):
            rig.table.on_too_big(report, rig.now())
        assert rig.drops() == {"no-flow": 2}
        target.sendall(bytes(2000))
        rig.until(lambda: len(client.stream) == 4000)
        assert max(len(segment.data) for segment in client.received) > 600


def too_big(client: Client, seq: int, mtu: int) -> TooBig:
    report = TooBig()
    target, target_port, address, port = client.peer_key
    report.key = address + target + port.to_bytes(2, "big") + target_port.to_bytes(2, "big")
    report.seq, report.mtu = seq & 0xFFFF_FFFF, mtu
    return report


# loops


class Gate(FlowGuard):
    """Lets flows through, or not."""

    def __init__(self, is_open: bool) -> None:
        self.is_open = is_open
        self.asked: list[tuple[str, str]] = []

    def admits(self, info: FlowInfo, verdict: Verdict) -> bool:
        self.asked.append((str(info), verdict.upstream))
        return self.is_open


@pytest.mark.parametrize("is_open", [False, True])
def test_guard_is_asked_about_flows_to_proxies_and_its_no_is_a_reset(is_open: bool) -> None:
    opener = FakeOpener()
    with contextlib.closing(Rig(decider=StaticDecider(Verdict(OPEN, "proxy")), opener=opener)) as rig:
        rig.table.guard = gate = Gate(is_open)
        client = Client(rig)
        client.syn()
        assert [name for _, name in gate.asked] == ["proxy"]
        assert len(opener.asked) == len(rig.table) == is_open
        assert [answer.names for answer in client.received] == ([] if is_open else ["RST ACK"])
        assert rig.drops() == ({} if is_open else {"rejected": 1})


def test_guard_is_not_asked_about_flows_to_their_targets() -> None:
    with listening() as (rig, _):
        rig.table.guard = gate = Gate(False)
        client = Client(rig)
        client.syn()
        rig.until(lambda: client.received)
        assert (client.received[0].names, gate.asked) == ("SYN ACK", [])


def test_loop_is_cut_on_all_flows_to_a_target_that_have_brought_nothing() -> None:
    opener = FakeOpener()
    with contextlib.closing(Rig(decider=StaticDecider(Verdict(OPEN, "proxy")), opener=opener)) as rig:
        clients = [Client(rig, port=40_000 + number) for number in range(3)]
        for client in clients:
            client.syn()
        assert rig.table.idle_to(pack(TARGET), PORT + 1) == []
        assert len(rig.table.idle_to(pack(TARGET), PORT)) == 3
        assert rig.table.cut_loop(pack(TARGET), PORT) == 3
        rig.run()
        assert [client.received[-1].names for client in clients] == ["RST ACK"] * 3
        assert (len(rig.table), len(opener.cancelled)) == (0, 3)
