"""Which prefixes the front of the rules sends direct, whatever else there is."""

import asyncio
import random
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.unit.control.policies import built, sources_of, written
from tests.unit.waiting import until
from tunproxy.control import lane
from tunproxy.control.config.sources import Sources
from tunproxy.control.helm.wishes import Wishes
from tunproxy.control.lane import LaneKeeper, lane_of, prefix_in
from tunproxy.errors import SystemChangeError
from tunproxy.host.lane import Lane
from tunproxy.host.netlink import Netlink
from tunproxy.rules.facts import Facts

HEAD = "[capture]\ndirect-lane = true\n"


def prefixes(folder: Path, *rules: str, more: str = "", **files: str) -> list[str]:
    text = f"rules = [{', '.join(repr(rule) for rule in rules)}]\n{more}"
    return sorted(map(str, lane_of(sources_of(written(folder, text, **files)))))


def test_front_of_the_rules_counts_up_to_the_first_that_needs_more(tmp_path: Path) -> None:
    assert prefixes(
        tmp_path,
        "IP-CIDR,10.0.0.0/8,DIRECT",
        "ip-cidr6,2001:db8::/32,direct,no-resolve",
        "PROCESS-NAME,git,DIRECT",
        "IP-CIDR,192.0.2.0/24,DIRECT",
    ) == ["10.0.0.0/8", "2001:db8::/32"]


@pytest.mark.parametrize(
    "rule",
    [
        "DOMAIN,a.example,DIRECT",
        "DST-PORT,22,DIRECT",
        "NETWORK,udp,DIRECT",
        "SRC-IP-CIDR,10.0.0.0/8,DIRECT",
        "IP-CIDR,10.0.0.0/8,DIRECT,src",
        "IP-SUFFIX,0.0.0.1/8,DIRECT",
        "AND,((IP-CIDR,10.0.0.0/8),(DST-PORT,22)),DIRECT",
        "GEOIP,!lan,DIRECT",
        "MATCH,DIRECT",
        "NO-SUCH-KIND,10.0.0.0/8,DIRECT",
    ],
)
def test_rule_that_an_address_alone_does_not_decide_ends_the_front(tmp_path: Path, rule: str) -> None:
    assert prefixes(tmp_path, rule, "IP-CIDR,10.0.0.0/8,DIRECT") == []


def test_what_an_earlier_rule_sends_elsewhere_is_left_out(tmp_path: Path) -> None:
    assert prefixes(
        tmp_path,
        "IP-CIDR,10.0.0.0/9,REJECT",
        "IP-CIDR,10.128.0.0/10,PASS",
        "IP-CIDR,10.0.0.0/8,DIRECT",
        "IP-CIDR,10.130.0.0/16,REJECT",
    ) == ["10.128.0.0/9"]
    assert prefixes(tmp_path, "IP-CIDR,10.0.0.0/8,REJECT", "IP-CIDR,10.1.0.0/16,DIRECT") == []


def test_sets_of_addresses_count_and_others_end_the_front(tmp_path: Path) -> None:
    sets = '[rule-sets.near]\npath = "near.txt"\nformat = "text"\nbehavior = "ipcidr"\n'
    sets += '[rule-sets.named]\npath = "named.txt"\nformat = "text"\nbehavior = "domain"\n'
    found = prefixes(
        tmp_path,
        "IP-CIDR,192.0.2.128/25,REJECT",
        "RULE-SET,near,DIRECT",
        "RULE-SET,named,DIRECT",
        "IP-CIDR,10.0.0.0/8,DIRECT",
        more=sets,
        near_txt="192.0.2.0/24\n198.51.100.0/25\n198.51.100.128/25\n2001:db8::/33\n",
        named_txt="a.example\n",
    )
    assert found == ["192.0.2.0/25", "198.51.100.0/24", "2001:db8::/33"]


def test_local_networks_count(tmp_path: Path) -> None:
    found = prefixes(tmp_path, "GEOIP,LAN,DIRECT", "MATCH,REJECT")
    assert {"10.0.0.0/8", "192.168.0.0/16", "fc00::/7"} <= set(found)


def test_fake_addresses_are_never_in_the_lane(tmp_path: Path) -> None:
    rule = "IP-CIDR,198.16.0.0/14,DIRECT"
    assert prefixes(tmp_path, rule) == ["198.16.0.0/14"]
    assert prefixes(tmp_path, rule, more='[dns]\nmode = "fake-ip"\n') == ["198.16.0.0/15"]


def test_direct_that_means_something_else_has_no_lane(tmp_path: Path) -> None:
    upstream = '[upstreams.direct]\ntype = "socks5"\nserver = "192.0.2.1"\n'
    assert prefixes(tmp_path, "IP-CIDR,10.0.0.0/8,DIRECT", more=upstream) == []


def test_file_of_rules_counts_up_to_a_line_that_plugins_may_understand(tmp_path: Path) -> None:
    text = "IP-CIDR,10.0.0.0/8,DIRECT\n# said so\nMY-KIND,x,REJECT\nIP-CIDR,192.0.2.0/24,DIRECT\n"
    path = written(tmp_path, 'rules-file = "home.rules"\n', home_rules=text)
    assert list(map(str, lane_of(sources_of(path)))) == ["10.0.0.0/8"]


def test_lane_is_what_the_rules_decide(tmp_path: Path) -> None:
    """Of random rules and addresses: those in the lane go direct, and those alone."""
    dice = random.Random(7)
    for _ in range(30):
        rules = [
            f"IP-CIDR,10.0.{dice.randrange(4)}.{dice.randrange(256)}/{dice.choice((22, 23, 24, 26, 29, 32))},"
            f"{dice.choice(('DIRECT', 'DIRECT', 'REJECT', 'REJECT-DROP', 'PASS'))}"
            for _ in range(dice.randrange(1, 9))
        ]
        path = written(tmp_path, f"rules = [{', '.join(map(repr, rules))}]\n")
        found = lane_of(sources_of(path))
        compiled = built(path).compiled
        for _ in range(200):
            address = f"10.0.{dice.randrange(4)}.{dice.randrange(256)}"
            facts = Facts("tcp", bytes(4), 0, ip_address(address).packed, 443)
            is_direct = compiled.match(facts) >= 0 and compiled.target(facts) == "DIRECT"
            assert bool(prefix_in(found, address)) == is_direct, (rules, address)


def test_address_of_no_kind_is_in_no_prefix(tmp_path: Path) -> None:
    assert prefix_in([], "10.0.0.1") == prefix_in([], "None") == ""


# the keeper


class Kernel:
    """What a lane is applied to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lanes: list[list[str]] = []
        self.refuses = False
        monkeypatch.setattr(Netlink, "__init__", lambda net: None)
        monkeypatch.setattr(Netlink, "close", lambda net: None)
        monkeypatch.setattr(Lane, "apply", lambda change, net: self.apply(change))

    def apply(self, change: Lane) -> None:
        if self.refuses:
            raise SystemChangeError("cannot except 10.0.0.0/8 from table 7778: no buffer space available")
        self.lanes.append(sorted(map(str, change.prefixes)))


def some(folder: Path, *rules: str) -> Sources:
    return sources_of(written(folder, f"rules = [{', '.join(map(repr, rules))}]\n{HEAD}"))


def test_keeper_follows_the_rules_and_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch)
    first = some(tmp_path, "IP-CIDR,10.0.0.0/8,DIRECT")
    keeper = LaneKeeper(first, is_wanted=True, answers_names=True)
    assert sorted(map(str, keeper.change().prefixes)) == ["10.0.0.0/8"]
    assert keeper.document() == {"kernel_direct": ["10.0.0.0/8"], "kernel_direct_prefixes": 1}
    assert (keeper.prefix_of("10.1.1.1", 80), keeper.prefix_of("10.1.1.1", 53)) == ("10.0.0.0/8", "")

    async def follow() -> None:
        async with keeper.following():
            keeper.follow(first)
            kernel.refuses = True
            keeper.follow(some(tmp_path, "IP-CIDR,192.0.2.0/24,DIRECT"))
            await until(keeper.problems)
            assert keeper.problems()[0].startswith("the kernel-direct lane is an old one: cannot except")
            assert keeper.prefix_of("10.1.1.1", 80)
            kernel.refuses = False
            keeper.follow(some(tmp_path, "IP-CIDR,198.51.100.0/24,DIRECT", "IP-CIDR,2001:db8::/32,DIRECT"))
            await until(lambda: not keeper.problems())
        assert kernel.lanes == [["198.51.100.0/24", "2001:db8::/32"]]
        assert keeper.prefix_of("2001:db8::7", 80) == "2001:db8::/32"

    asyncio.run(follow())


def test_rules_that_are_switched_off_are_not_there(tmp_path: Path) -> None:
    rules = ["DOMAIN,a.example,REJECT", "IP-CIDR,10.0.0.0/9,REJECT", "IP-CIDR,10.0.0.0/8,DIRECT"]
    path = written(tmp_path, f"rules = [{', '.join(map(repr, rules))}]\n")
    for off, expected in (
        ((), []),
        ({0}, ["10.128.0.0/9"]),
        ({0, 1}, ["10.0.0.0/8"]),
        ({0, 2}, []),
    ):
        assert list(map(str, lane_of(sources_of(path), off))) == expected


def test_keeper_goes_by_what_somebody_has_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, wishes = Kernel(monkeypatch), Wishes()
    first = some(tmp_path, "IP-CIDR,10.0.0.0/8,DIRECT", "IP-CIDR,192.0.2.0/24,DIRECT")
    keeper = LaneKeeper(first, is_wanted=True, wishes=wishes)
    both = sorted(map(str, keeper.change().prefixes))
    assert len(both) == 2

    async def follow() -> None:
        async def leads_to(expected: list[str]) -> None:
            keeper.look_again()
            await until(lambda: kernel.lanes[-1:] == [expected])
            await until(lambda: keeper.document()["kernel_direct"] == expected)

        async with keeper.following():
            wishes.mode, wishes.way = "global", "work"
            await leads_to([])
            wishes.way = "direct"
            await leads_to(both)
            wishes.mode, wishes.off = "rule", frozenset({0})
            await leads_to(["192.0.2.0/24"])
            keeper.follow(first)  # a reload: every rule is asked again
            await until(lambda: kernel.lanes[-1:] == [both])

    asyncio.run(follow())


def test_keeper_without_a_lane_does_nothing(tmp_path: Path) -> None:
    keeper = LaneKeeper(some(tmp_path, "IP-CIDR,10.0.0.0/8,DIRECT"), is_wanted=False)
    assert keeper.change() == Lane()
    keeper.follow(some(tmp_path, "IP-CIDR,10.0.0.0/9,DIRECT"))
    keeper.look_again()
    assert keeper.document() == {"kernel_direct": [], "kernel_direct_prefixes": 0}


def test_keeper_leaves_too_many_prefixes_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lane, "MAX_PREFIXES", 1)
    sources = some(tmp_path, "IP-CIDR,10.0.0.0/8,DIRECT", "IP-CIDR,192.0.2.0/24,DIRECT")
    assert LaneKeeper(sources, is_wanted=True).change() == Lane()
    assert "2 prefixes are too many" in caplog.text


def test_rule_that_only_counts_ends_the_front(tmp_path: Path) -> None:
    assert prefixes(tmp_path, "IP-CIDR,10.1.0.0/16,REJECT,observe", "IP-CIDR,10.0.0.0/8,DIRECT") == []
