"""Which packets are marked as answers, by the real nftables; what becomes of them: ``test_capture.py``."""

import subprocess

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.host.answer_marks import NAME, AnswerMarks, content
from tunproxy.host.netlink import Netlink
from tunproxy.host.nft import NftTable
from tunproxy.host.rules import ANSWER
from tunproxy.host.scope import Scope

pytestmark = [needs_namespaces, pytest.mark.needs("ip", "nft", "ping")]

# near -- here -- far; what is forwarded is counted with its mark
ROUTER = """
mount -t tmpfs none /run
sysctl -qw net.ipv4.ip_forward=1
for name in near far; do
  ip netns add $name
  ip link add $name type veth peer name eth0 netns $name
  ip link set $name up; ip -n $name link set eth0 up; ip -n $name link set lo up
done
ip address add 10.1.0.1/24 dev near; ip -n near address add 10.1.0.2/24 dev eth0
ip address add 10.2.0.1/24 dev far; ip -n far address add 10.2.0.2/24 dev eth0
ip -n near route add default via 10.1.0.1; ip -n far route add default via 10.2.0.1
"""
COUNTERS = f"""
counter asked {{}}
counter answered {{}}
chain before {{ type filter hook prerouting priority raw;
  MARK
}}
chain passing {{ type filter hook forward priority filter; policy accept;
  meta mark and {ANSWER:#x} == 0 counter name asked
  meta mark and {ANSWER:#x} != 0 counter name answered
}}
"""


def run(script: str) -> str:
    return subprocess.run(
        ["sh", "-ec", script], check=True, capture_output=True, text=True, timeout=10
    ).stdout


def pings(mark: str = "", scope: Scope | None = None) -> dict[str, int]:
    """Return how many packets of one ping from near to far went on with a mark, and without."""
    with Netlink() as net:
        marks = AnswerMarks("tun0", scope or Scope(forwarded=True))
        marks.apply(net)
        table = NftTable("counted")
        table.apply(COUNTERS.replace("MARK", mark))
        run("ip netns exec near ping -q -c 1 -W 5 10.2.0.2")
        found = table.counters()
        table.close()
        marks.close()
        return found


def test_answers_are_marked_and_nothing_else() -> None:
    def check() -> None:
        run(ROUTER)
        assert pings() == {"asked": 1, "answered": 1}
        assert pings("meta mark set 0x20000") == {"asked": 1, "answered": 1}
        for scope, expected in (
            (Scope(forwarded=True, interfaces=("far",)), 1),
            (Scope(forwarded=True, interfaces=("near",)), 0),
            (Scope(forwarded=True, excluded_interfaces=("far", "x")), 0),
        ):
            assert pings(scope=scope)["answered"] == expected, scope

    isolated(check)


def test_mark_that_a_rule_of_others_asks_for_stays_what_it_is() -> None:
    def check() -> None:
        run(ROUTER)
        run("ip rule add pref 99 fwmark 0x20000 lookup main")
        assert pings("meta mark set 0x20000") == {"asked": 2, "answered": 0}
        run("ip rule del pref 99; ip rule add pref 99 fwmark 0x20000/0xf0000 lookup main")
        assert pings("meta mark set 0x20000") == {"asked": 1, "answered": 1}

    isolated(check)


def test_table_follows_the_marks_of_others_and_vanishes() -> None:
    def check() -> None:
        def table() -> str:
            return run(f"nft list table inet {NAME}")

        with Netlink() as net:
            marks = AnswerMarks("tun0", Scope(forwarded=True))
            marks.apply(net)
            before = table()
            assert not marks.mend(net)
            assert table() == before
            run("ip rule add pref 99 fwmark 0x77 lookup main")
            assert not marks.mend(net)
            assert "0x00000077" in table()
            marks.revert(net)
            marks.revert(net)
            assert NAME not in run("nft list tables")

    isolated(check)


def test_content_is_what_nft_understands_whatever_is_captured() -> None:
    def check() -> None:
        table = NftTable("tunproxy_test")
        scope = Scope(
            forwarded=True,
            interfaces=("docker0", "lan0"),
            excluded_interfaces=("wg0",),
            marks=((0x10, 0xFF), (7, 0xFFFF_FFFF)),
        )
        for each in (Scope(), scope):
            table.apply(content("tun0", each, [(0x20, 0xFFFF_FFFF)]))
        table.close()

    isolated(check)
