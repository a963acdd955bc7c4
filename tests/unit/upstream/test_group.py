"""Groups: who their members are, and what becomes of a member's verdict."""

import pytest

from tunproxy.errors import ConfigError
from tunproxy.flow.verdict import DIAL, REJECT, FlowInfo, Verdict
from tunproxy.upstream.base import DialUpstream, Unreached, Upstream
from tunproxy.upstream.group import LOOKED_AT_FOR, Group, GroupError, bind_groups, through
from tunproxy.upstream.health import Health, Plan

FLOW = FlowInfo("tcp", bytes([10, 0, 0, 2]), 40000, bytes([192, 0, 2, 7]), 80)
FLOW6 = FlowInfo("udp", bytes(16), 40000, bytes(16), 80)


class First(Group):
    """Takes the first member that can be used."""

    def pick(self, info: FlowInfo) -> Upstream | None:
        return next(iter(self.usable(info)), None)


def bound(*groups: Group, upstreams: str = "ab", health: Health | None = None) -> dict[str, Upstream]:
    found: dict[str, Upstream] = {name: DialUpstream(name) for name in upstreams}
    found |= {group.name: group for group in groups}
    bind_groups(found, health or Health())
    return found


def test_members_are_resolved_whatever_the_order() -> None:
    inner, outer = First("inner", ["a"]), First("outer", ["inner", "b"])
    found = bound(outer, inner)
    assert outer.members == (inner, found["b"])
    assert inner.members == (found["a"],)


def test_members_of_members_are_there_when_a_group_checks_its_own() -> None:
    seen: list[int] = []

    class Checking(First):
        def check(self) -> None:
            seen.extend(len(member.members) for member in self.members if isinstance(member, Group))

    bound(Checking("outer", ["middle"]), First("middle", ["inner", "a"]), First("inner", ["a", "b"]))
    assert seen == [2]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "group 'g' has no members"),
        (["a", "b", "a"], "group 'g' has 'a' twice"),
        (["omega"], "group 'g': there is no upstream 'omega'"),
        (["alpah"], "there is no upstream 'alpah' (did you mean 'alpha'?)"),
        (["g"], "group 'g' contains itself: g → g"),
    ],
)
def test_members_that_make_no_sense_are_refused(members: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        bound(First("g", members), First("alpha", ["b"]))
    assert message in str(caught.value)


def test_cycle_through_several_groups_is_shown() -> None:
    groups = [First("x", ["a", "y"]), First("y", ["b", "z"]), First("z", ["a", "y"])]
    with pytest.raises(ConfigError, match=r"contains itself: (y → z → y|z → y → z)"):
        bound(*groups)


def test_groups_within_groups_have_a_bound() -> None:
    """Whatever flows are asked about there is on the stack, group by group."""
    chain = [First(f"g{number}", [f"g{number + 1}"]) for number in range(1, 2000)]
    with pytest.raises(GroupError, match="group 'g1968': more than 32 groups within groups") as caught:
        bound(*chain, First("g2000", ["a"]))
    assert (caught.value.group, caught.value.path) == ("g1968", ("members",))
    bound(*chain[-31:], First("g2000", ["a"]))


def test_groups_that_share_members_layer_by_layer_are_bound_at_once() -> None:
    """There are 2 ** 30 ways down."""
    layers = [First(f"{side}{at}", [f"x{at + 1}", f"y{at + 1}"]) for at in range(30) for side in "xy"]
    found = bound(*layers, First("x30", ["a"]), First("y30", ["b"]))
    assert len(found) == 64


def test_member_of_two_groups_is_no_cycle() -> None:
    bound(First("x", ["y", "z"]), First("y", ["w"]), First("z", ["w"]), First("w", ["a"]))


def test_verdict_names_the_whole_chain() -> None:
    found = bound(First("inner", ["a"]), First("outer", ["inner"]))
    verdict = found["outer"].verdict_for(FLOW, "rule 7")
    assert (verdict.kind, verdict.upstream, verdict.chain) == (DIAL, "a", "outer → inner → a")
    assert (verdict.why, str(verdict)) == ("rule 7", "outer → inner → a (dial, rule 7)")
    assert found["outer"].constant() is None


def test_through_keeps_everything_else() -> None:
    opener = object()
    verdict = through("g", Verdict(4, "a", "192.0.2.1", 1080, opener, "because"))
    assert (verdict.kind, verdict.address, verdict.port) == (4, "192.0.2.1", 1080)
    assert verdict.opener is opener
    assert (verdict.why, verdict.chain) == ("because", "g → a")


def test_members_that_cannot_carry_a_flow_are_left_out() -> None:
    group = First("g", ["a", "b"])
    found = bound(group)
    found["a"].knowledge.declare("udp", False)
    found["b"].knowledge.declare("ipv6", False)
    assert group.usable(FLOW) == [found["a"], found["b"]]
    assert not group.carries(FLOW6)
    verdict = group.verdict_for(FLOW6)
    assert (verdict.kind, verdict.upstream, verdict.why) == (REJECT, "g", "no member carries udp to IPv6")


def test_usable_follows_the_tests_and_what_is_learned() -> None:
    now = [0.0]
    health = Health(clock=lambda: now[0])
    group = First("g", ["a", "b"], Plan())
    found = bound(group, health=health)
    assert group.watch is not None
    health.adopt([group.watch])
    assert group.verdict_for(FLOW).upstream == "a"
    health.on_suspect(found["a"], Unreached("x"))
    assert group.verdict_for(FLOW).upstream == "b"
    found["b"].knowledge.declare("tcp", False)
    now[0] += LOOKED_AT_FOR
    assert group.verdict_for(FLOW).upstream == "a"


def test_use_of_a_group_wakes_its_watch() -> None:
    now = [7.0]
    health = Health(clock=lambda: now[0])
    group = First("g", ["a"], Plan())
    bound(group, health=health)
    assert group.watch is not None
    assert group.watch.is_asleep
    group.verdict_for(FLOW)
    assert not group.watch.is_asleep
    assert group.watch.used_at == 7.0


def test_group_without_a_plan_is_not_tested() -> None:
    group = First("g", ["a"])
    found = bound(group)
    assert group.watch is None
    assert group.is_well(found["a"])
    assert group.delay_of(found["a"]) is None
