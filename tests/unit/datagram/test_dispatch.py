"""Which verdict makes which carrier; what there is no way for."""

import pytest

from tests.unit.datagram.relays import VIA_PROXY, Proxied
from tests.unit.datagram.world import World
from tests.unit.wire.frames import CLIENT, CLIENT6, TARGET, TARGET6, packed
from tunproxy.datagram.association import Association
from tunproxy.datagram.dispatch import Dispatch
from tunproxy.datagram.proxied import ProxiedWay
from tunproxy.datagram.undecided import Undecided
from tunproxy.flow.verdict import CONVERSE, DIAL, DROP, OPEN, REJECT, SNIFF, FlowInfo, Verdict
from tunproxy.wire.reasons import MARTIAN_TARGET, REJECTED, TABLE_FULL

INFO = FlowInfo("udp", packed(CLIENT), 5000, packed(TARGET), 7)
INFO6 = FlowInfo("udp", packed(CLIENT6), 5000, packed(TARGET6), 7)


@pytest.mark.parametrize("info", [INFO, INFO6], ids=["ipv4", "ipv6"])
def test_verdict_makes_its_carrier(info: FlowInfo) -> None:
    later = Verdict(OPEN, "later", opener=object())
    with Proxied(at_once=False) as lab:
        lab.ways.deferred.append(later.opener)
        dispatch: Dispatch = lab.world.table._dispatch
        found = []
        for number, verdict in enumerate(
            [None, Verdict(DIAL, "direct"), VIA_PROXY, Verdict(CONVERSE, "socks", opener=object()),
             Verdict(SNIFF, "undecided"), later]
        ):  # fmt: skip
            path = dispatch.path_for(b"key%d" % number, info, verdict, False, lab.world.now)
            assert path is not None
            found.append(type(path.carrier))
        assert found == [Association, Association, ProxiedWay, ProxiedWay, Undecided, Undecided]
        keys = set(lab.world.table._context.room._order)
        assert len(keys) == 5, "the two associations are one"


@pytest.mark.parametrize(
    ("verdict", "told"), [(Verdict(REJECT, "no"), True), (Verdict(DROP, "no"), False), (VIA_PROXY, True)]
)
def test_refusal_says_why(verdict: Verdict, told: bool) -> None:
    with World() as world:  # without an opener
        dispatch = world.table._dispatch
        assert dispatch.path_for(b"key", INFO, verdict, False, world.now) is None
        assert dispatch.reason == REJECTED
        assert (dispatch.error != 0) == told


def test_martian_is_dropped_and_so_is_what_there_is_no_socket_for() -> None:
    with World() as world:
        dispatch = world.table._dispatch
        nowhere = FlowInfo("udp", packed(CLIENT), 5000, packed("127.0.0.9"), 7)
        assert dispatch.path_for(b"key", nowhere, None, False, world.now) is None
        assert (dispatch.reason, dispatch.error) == (MARTIAN_TARGET, 0)
        world.sockets.fails = 2
        assert dispatch.path_for(b"key", INFO, None, False, world.now) is None
        assert (dispatch.reason, dispatch.error) == (TABLE_FULL, 0)
