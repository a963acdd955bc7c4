"""What one connection shows about who answers."""

import errno
from dataclasses import replace

import pytest

from tests.isolation import isolated, needs_namespaces
from tests.unit.doctor.looks import device
from tunproxy.device.tun import open_tun
from tunproxy.doctor.answers import Outcome, judge_probe, parse_probe, probe
from tunproxy.doctor.finding import State
from tunproxy.doctor.firewall import INPUT, OUTPUT
from tunproxy.errors import ConfigError
from tunproxy.host.addresses import TUN_IPV4
from tunproxy.host.netlink import Netlink, Way

INTO = Way("tun0", "", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("192.0.2.1:80", ("192.0.2.1", 80)), ("[2001:db8::1]:443", ("2001:db8::1", 443))],
)
def test_probe_is_an_address_and_a_port(text: str, expected: tuple[str, int]) -> None:
    assert parse_probe(text) == expected


@pytest.mark.parametrize(
    "text", ["", "80", "a.example:80", "192.0.2.1", "192.0.2.1:0", "192.0.2.1:x", "\0:1", ":80"]
)
def test_probe_of_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="cannot probe"):
        parse_probe(text)


@pytest.mark.parametrize(
    ("way", "error", "read", "written", "ours", "state", "says"),
    [
        (None, errno.ENETUNREACH, 0, 0, (), State.ODD, "into no TUN device"),
        (Way("eth0", "", ""), 0, 0, 0, (), State.ODD, "into no TUN device"),
        (INTO, errno.ETIMEDOUT, 0, 0, (), State.BROKEN, "does not read it"),
        (INTO, errno.ETIMEDOUT, 3, 0, (), State.BROKEN, "must write a SYN, ACK itself"),
        (INTO, errno.ETIMEDOUT, 3, 2, (), State.ODD, "answers this connection with none"),
        (INTO, errno.ETIMEDOUT, 3, 0, ("tun0",), State.ODD, "neither does tunproxy"),
        (INTO, errno.ECONNREFUSED, 1, 1, (), State.FINE, "has answered: refused"),
        (INTO, 0, 2, 2, ("tun0",), State.FINE, "has answered: connected"),
    ],
)
def test_probe_says_who_answers(
    way: Way | None, error: int, read: int, written: int, ours: tuple[str, ...], state: State, says: str
) -> None:
    before = {"tun0": device()}
    after = {"tun0": device(read=7 + read, written=5 + written)}
    found = judge_probe(Outcome("192.0.2.1:80", way, error, 0.01), before, after, ours)
    assert found.state is state
    assert says in found.says


def test_answer_with_a_wrong_checksum_is_found_out() -> None:
    before, after = {"tun0": device()}, {"tun0": device(read=10, written=9)}
    found = judge_probe(Outcome("192.0.2.1:80", INTO, errno.ETIMEDOUT, 3.0, spoiled=2), before, after, ())
    assert found.state is State.BROKEN
    assert "answers with a wrong checksum" in found.says
    assert "2 more meanwhile" in found.evidence[-1]


@pytest.mark.parametrize(
    ("stopped", "way", "says", "mend"),
    [
        (
            OUTPUT,
            INTO,
            "the SYN would go to tun0, and this host's own firewall stops it",
            "what leaves by tun0",
        ),
        (INPUT, INTO, "who is behind tun0 has answered, and this host's own firewall", "what comes by tun0"),
        (OUTPUT, Way("eth0", "", ""), "the SYN would go to eth0, and this host's", "what leaves by eth0"),
    ],
)
def test_firewall_that_stops_the_connection_is_named_and_not_the_program(
    stopped: str, way: Way, says: str, mend: str
) -> None:
    before, after = {"tun0": device()}, {"tun0": device(read=8, written=6)}
    chains = ("inet fw out (policy drop)", "ip filter OUTPUT (policy accept)")
    outcome = Outcome("192.0.2.1:80", way, errno.ETIMEDOUT, 3.0, stopped=stopped, chains=chains)
    found = judge_probe(outcome, before, after, ("tun0",))
    assert found.state is State.BROKEN
    assert found.says.startswith(says)
    assert mend in found.mend
    assert found.mend.endswith("(what stops it: nft list chain inet fw out)")
    assert found.evidence[1:] == tuple(f"at {stopped}: {each}" for each in chains)
    bare = judge_probe(replace(outcome, chains=()), before, after, ())
    assert bare.mend.endswith("(what stops it: iptables-save)")


@needs_namespaces
def test_device_that_nobody_reads_is_found_out() -> None:
    def check() -> None:
        opened = open_tun("probe0")
        with Netlink() as net:
            net.set_link("probe0", up=True)
            net.add_address("probe0", TUN_IPV4)
        found = probe(str(TUN_IPV4.ip + 1), 80, patience=0.2)
        assert "does not read it" in found.says
        opened.close()

    isolated(check)
