"""A flow whose verdict has to be waited for ends the way that the verdict says."""

import errno
import socket
from collections.abc import Iterator, Sequence

import pytest

from tests.unit.upstream.test_proxy import FLOW, Polite
from tunproxy.flow.targets import Targets
from tunproxy.flow.verdict import DIAL, DROP, REJECT, FlowInfo, Verdict
from tunproxy.testkit.network import SimulatedNetwork
from tunproxy.testkit.script import Script
from tunproxy.testkit.virtual import VirtualLoop
from tunproxy.upstream.base import Opened, OpenError
from tunproxy.upstream.deferred import DeferredUpstream, Deferrer

UDP = FlowInfo("udp", FLOW.client, FLOW.client_port, FLOW.target, FLOW.target_port)


class Decided:
    """Has decided already."""

    def __init__(self, verdict: Verdict, addresses: Sequence[str] = (), is_lost: bool = False) -> None:
        self.verdict = verdict
        self.addresses = addresses
        self.is_lost = is_lost

    async def settle(self, info: FlowInfo) -> Verdict:
        return self.verdict

    def addresses_of(self, info: FlowInfo) -> Sequence[str]:
        return self.addresses

    def is_unresolved(self, info: FlowInfo) -> bool:
        return self.is_lost


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop()
    yield made
    made.close()


def dialled(loop: VirtualLoop, decided: Decided, *places: str, info: FlowInfo = FLOW) -> list[str]:
    """Return whom the flow was opened to; raises what its opening raises."""
    network = SimulatedNetwork()
    for place in places:
        network.serve(
            place, Script().expects(b"please").sends(b"ok") if place.endswith(":1080") else Script()
        )
    try:
        found = loop.run(DeferredUpstream(decided, Targets({})).open(info, network))
        (found.sock if isinstance(found, Opened) else found).close()
        return network.dialled
    finally:
        loop.run(network.close())


@pytest.mark.parametrize(
    ("verdict", "place"),
    [
        (Verdict(DIAL, "direct"), "192.0.2.7:80"),
        (Verdict(DIAL, "direct", port=81), "192.0.2.7:81"),
        (Verdict(DIAL, "other", "192.0.2.8", 82), "192.0.2.8:82"),
        (Polite("work", "192.0.2.1", 1080).verdict_for(FLOW), "192.0.2.1:1080"),
        (Polite("work", "proxy.example", 1080).verdict_for(FLOW), "proxy.example:1080"),
    ],
)
def test_flow_goes_where_the_verdict_says(loop: VirtualLoop, verdict: Verdict, place: str) -> None:
    assert dialled(loop, Decided(verdict), place) == [place]


def test_addresses_of_a_name_are_tried_in_turn_but_for_forbidden_ones(loop: VirtualLoop) -> None:
    addresses = ["127.0.0.1", "192.0.2.3", "192.0.2.4"]
    decided = Decided(Verdict(DIAL, "direct", "127.0.0.1"), addresses)
    assert dialled(loop, decided, "192.0.2.4:80") == ["192.0.2.3:80", "192.0.2.4:80"]
    with pytest.raises(OpenError, match="no address that a flow may go to"):
        dialled(loop, Decided(Verdict(DIAL, "direct", "127.0.0.1"), ["127.0.0.1"]))


@pytest.mark.parametrize(
    ("decided", "number"),
    [
        (Decided(Verdict(REJECT, "no")), errno.ECONNREFUSED),
        (Decided(Verdict(REJECT, "no"), is_lost=True), errno.EHOSTUNREACH),
        (Decided(Verdict(DROP, "no")), errno.ETIMEDOUT),
    ],
)
def test_refusal_tells_the_client_why(loop: VirtualLoop, decided: Decided, number: int) -> None:
    with pytest.raises(OSError) as raised:  # noqa: PT011  # its number is looked at
        dialled(loop, decided)
    assert raised.value.errno == number


def test_datagrams_go_to_the_target_or_are_refused(loop: VirtualLoop) -> None:
    network = SimulatedNetwork()

    async def silent(sock: socket.socket) -> None:
        """Take what comes."""

    network.serve_datagrams("192.0.2.7:80", silent)
    way = loop.run(
        DeferredUpstream(Decided(Verdict(DIAL, "direct")), Targets({})).open_datagrams(UDP, network)
    )
    way.sock.close()
    assert network.dialled == ["192.0.2.7:80"]
    stream_only = Decided(Polite("work", "192.0.2.1", 1080).verdict_for(UDP))
    with pytest.raises(OpenError, match="work carries no datagrams"):
        loop.run(DeferredUpstream(stream_only, Targets({})).open_datagrams(UDP, network))
    loop.run(network.close())


def test_streams_share_an_opener_datagrams_do_not_and_pings_have_none() -> None:
    makes = Deferrer(Decided(Verdict(DIAL, "direct")), Targets({}))
    assert makes.opener_for(FLOW) is makes.opener_for(FLOW)
    assert makes.opener_for(UDP) is not makes.opener_for(UDP)
    assert makes.opener_for(FlowInfo("icmp", FLOW.client, 0, FLOW.target, 0)) is None
