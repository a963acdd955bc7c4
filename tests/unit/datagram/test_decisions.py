"""Who may send datagrams and pings where, and how often that is asked."""

import logging

import dpkt
import pytest

from tests.isolation import isolated, needs_namespaces
from tests.unit.datagram.test_echo import allow
from tests.unit.datagram.world import LOOPBACK, SECOND, World, both_families
from tests.unit.wire import frames
from tests.unit.wire.frames import CLIENT, TARGET, check_sums, completed, packed
from tunproxy.datagram.decisions import KEPT_FOR, MAX_KEPT, Decisions
from tunproxy.datagram.sockaddr import name_of
from tunproxy.flow.ports import Decider
from tunproxy.flow.static_decider import StaticDecider
from tunproxy.flow.verdict import DIAL, DROP, OPEN, REJECT, FlowInfo, Verdict
from tunproxy.plugin.api import DialUpstream, hookimpl
from tunproxy.plugin.manager import Plugins
from tunproxy.plugin.stage import PluginStage

OTHER = "198.51.100.8"
DIRECT = Verdict(DIAL, "direct")


class Deciding(Decider):
    """Decides by the target's port, and remembers what it was asked."""

    def __init__(self, **verdicts: Verdict) -> None:
        self.verdicts = {int(port.removeprefix("port")): verdict for port, verdict in verdicts.items()}
        self.asked: list[str] = []

    def decide(self, info: FlowInfo) -> Verdict:
        self.asked.append(str(info))
        return self.verdicts.get(int(info.target_port), DIRECT)


class Asking(Decider):
    """Decides as a stage does, and DIRECT where that says nothing."""

    def __init__(self, stage: PluginStage) -> None:
        self.stage = stage

    def decide(self, info: FlowInfo) -> Verdict:
        return self.stage.decide(info) or DIRECT


def only(verdict: Verdict) -> Decider:
    """Return a decider that a plugin is behind, which says the same of everything."""

    class Plugin:
        @hookimpl
        def decide_flow(self, info: FlowInfo) -> Verdict:
            return verdict

    plugins = Plugins()
    assert plugins.register(Plugin(), "rules")
    return Asking(PluginStage(plugins.hooks("decide_flow"), {}))


def error_of(frame: bytes) -> tuple[int, int, bytes]:
    """Return kind, code and quotation of an ICMP error, whose sums are right."""
    packet = completed(frame)
    check_sums(packet)
    at = 40 if packet[0] >> 4 == 6 else 20
    return packet[at], packet[at + 1], packet[at + 8 :]


def test_decider_is_asked_once_for_each_pair_of_port_and_target() -> None:
    decider = Deciding()
    with World(decider=decider) as world:
        one, two = world.peer(), world.peer(OTHER)
        for _ in range(3):
            world.send(b"a", b"b", to=one)
            world.send(b"c", to=two)
            world.send(b"d", to=one, port=5001)
        assert decider.asked == [
            f"udp {CLIENT}:5000 -> {TARGET}:{one.port}",
            f"udp {CLIENT}:5000 -> {OTHER}:{two.port}",
            f"udp {CLIENT}:5001 -> {TARGET}:{one.port}",
        ]
        assert world.sockets.open == 2, "one mapping for each port of the client's"
        assert [one.receive()[0] for _ in range(9)] == [b"a", b"b", b"d"] * 3


def test_datagram_goes_to_the_address_that_the_decider_names_and_the_answer_seems_the_targets() -> None:
    decider = Deciding()
    with World(decider=decider) as world:
        elsewhere = world.peer(OTHER)
        decider.verdicts[53] = Verdict(DIAL, "dns", LOOPBACK[OTHER], elsewhere.port)
        world.inbound(frames.udp(b"question", target=("192.0.2.99", 53)))
        data, address = elsewhere.receive()
        assert data == b"question"
        elsewhere.sock.sendto(b"answer", address)
        [answer] = world.received()
        assert (answer.source, answer.source_port, answer.payload) == ("192.0.2.99", 53, b"answer")


def test_two_targets_sent_to_one_address_get_their_own_answers() -> None:
    decider = Deciding()
    with World(decider=decider) as world:
        server = world.peer(OTHER)
        decider.verdicts[53] = Verdict(DIAL, "dns", LOOPBACK[OTHER], server.port)
        for target in ("192.0.2.98", "192.0.2.99"):
            world.inbound(frames.udp(target.encode(), target=(target, 53)))
        questions = [server.receive() for _ in range(2)]
        for data, address in reversed(questions):
            server.sock.sendto(data, address)
        answers = world.received(2)
        assert sorted((answer.source, answer.payload) for answer in answers) == [
            ("192.0.2.98", b"192.0.2.98"),
            ("192.0.2.99", b"192.0.2.99"),
        ]


@both_families
def test_rejected_datagram_is_answered_with_port_unreachable(target: str) -> None:
    with World(decider=only(Verdict(REJECT, "no"))) as world:
        source = (world.client_of(target), 5000)
        sent = frames.udp(b"x" * 100, source=source, target=(target, 443))
        world.inbound(sent)
        kind, code, quote = error_of(world.outbound()[0])
        assert (kind, code) == ((1, 4) if ":" in target else (3, 3))
        at = 40 if ":" in target else 20
        assert quote[at : at + 6] == sent[10 + at : 16 + at], "ports and length are the client's"
        assert world.drops() == {"rejected": 1}
        assert world.sockets.made == []


def test_rejected_super_packet_is_answered_once() -> None:
    with World(decider=only(Verdict(REJECT, "no"))) as world:
        world.inbound(frames.udp_super(b"y" * 3000, 1000))
        kind, code, quote = error_of(world.outbound()[0])
        assert (kind, code) == (3, 3)
        assert dpkt.ip.IP(quote).len == 1028


def test_dropped_datagram_gets_silence() -> None:
    with World(decider=only(Verdict(DROP, "no"))) as world:
        world.inbound(frames.udp(b"x"), frames.udp(b"x"))
        world.settle()
        assert world.sink.frames == []
        assert world.drops() == {"rejected": 2}


def test_upstream_that_carries_tcp_only_refuses_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "tunproxy.datagram.decisions")
    with World(decider=Deciding(port443=Verdict(OPEN, "socks"))) as world:
        world.inbound(frames.udp(b"x", target=(TARGET, 443)))
        assert error_of(world.outbound()[0])[:2] == (3, 3)
    assert f"udp {CLIENT}:5000 -> {TARGET}:443: refused: socks (open) carries TCP only" in caplog.text


def test_refusal_is_remembered_for_a_while() -> None:
    decider = Deciding(port443=Verdict(DROP, "no"))
    with World(decider=decider) as world:
        frame = frames.udp(b"x", target=(TARGET, 443))
        world.inbound(frame, frame, frame)
        assert len(decider.asked) == 1
        world.pass_time(KEPT_FOR / SECOND)
        world.inbound(frame)
        assert len(decider.asked) == 2
        decider.verdicts.clear()
        world.pass_time(KEPT_FOR / SECOND)
        world.inbound(frame)
        assert world.sockets.open == 1


def test_peer_that_wrote_first_opens_no_way_past_the_decider() -> None:
    """Everybody may write to a mapping; who answers asks the decider all the same."""
    decider = Deciding()
    with World(decider=decider) as world:
        friend = world.peer()
        world.send(b"hello", to=friend)
        friend.receive()
        context = world.table._context
        [association] = context.associations.values()
        association._path_from(name_of(packed("203.0.113.5"), 777))
        decider.verdicts[777] = Verdict(DROP, "no")
        world.inbound(frames.udp(b"back", target=("203.0.113.5", 777)))
        assert decider.asked[-1] == f"udp {CLIENT}:5000 -> 203.0.113.5:777"
        assert world.drops() == {"rejected": 1}
        decider.verdicts.clear()
        world.pass_time(KEPT_FOR / SECOND)
        world.inbound(frames.udp(b"back", target=("203.0.113.5", 777)))
        assert len(context.paths) == len(association.paths) == 2, "the stranger's path is the client's now"


def test_verdict_that_is_the_same_for_all_is_not_asked_for() -> None:
    for decider in (None, StaticDecider(DIRECT)):
        decisions = Decisions(decider)
        assert decisions.is_static
        assert (
            decisions.about_path(b"key", FlowInfo("udp", packed(CLIENT), 1, packed(TARGET), 2), SECOND)
            is None
        )
        assert decisions.about_echo(b"key", packed(CLIENT), packed(TARGET), SECOND) is None
    for verdict in (Verdict(REJECT, "no"), Verdict(DIAL, "dns", "192.0.2.53"), Verdict(OPEN, "socks")):
        assert not Decisions(StaticDecider(verdict)).is_static
    upstream = DialUpstream("direct")
    assert Decisions(StaticDecider(upstream.constant("default"))).is_static


def test_what_is_remembered_is_bounded() -> None:
    decisions = Decisions(Deciding(port9=Verdict(DROP, "no")))
    for number in range(MAX_KEPT + 100):
        decisions.about_path(b"%d" % number, FlowInfo("udp", packed(CLIENT), 1, packed(TARGET), 9), SECOND)
        decisions.about_echo(b"%d" % number, packed(CLIENT), packed(TARGET), SECOND)
    assert len(decisions) == MAX_KEPT


def test_ping_is_asked_about_once_as_long_as_it_runs() -> None:
    decider = Deciding()
    decisions = Decisions(decider)
    now = SECOND
    for _ in range(100):
        assert decisions.about_echo(b"key", packed(CLIENT), packed(TARGET), now) is DIRECT
        now += SECOND
    assert decider.asked == [f"icmp {CLIENT}:0 -> {TARGET}:0"]
    decisions.about_echo(b"key", packed(CLIENT), packed(OTHER), now)
    decisions.about_echo(b"key", packed(CLIENT), packed(TARGET), now + KEPT_FOR)
    assert len(decider.asked) == 3


@both_families
def test_rejected_ping_is_told_and_a_dropped_one_is_not(target: str) -> None:
    ping = frames.echo_request(b"p", source=frames.CLIENT6 if ":" in target else CLIENT, target=target)
    with World(decider=only(Verdict(REJECT, "no"))) as world:
        world.inbound(ping)
        kind, code, _ = error_of(world.outbound()[0])
        assert (kind, code) == ((1, 1) if ":" in target else (3, 13)), "administratively prohibited"
        assert world.drops() == {"rejected": 1}
    with World(decider=only(Verdict(DROP, "no"))) as world:
        world.inbound(ping)
        assert world.sink.frames == []
        assert world.drops() == {"rejected": 1}


@needs_namespaces
def test_ping_goes_where_the_decider_says_and_the_reply_seems_the_targets() -> None:
    isolated(_redirected)


def _redirected() -> None:
    allow()
    with World(decider=only(Verdict(DIAL, "there", "127.0.0.8"))) as world:
        world.inbound(frames.echo_request(b"payload", target="192.0.2.99", sequence=3))
        packet = completed(world.outbound()[0])
        check_sums(packet)
        assert dpkt.ip.IP(packet).src == packed("192.0.2.99")
