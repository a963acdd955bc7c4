"""Rules mean what they mean to mihomo: random lists and flows, and both sides choose the same target.

mihomo runs with our world as its configuration and is sent the flows; ours is asked with the facts that
mihomo has of them. Half of the worlds have countries from geoip.dat, half from a database.

    pytest tests/interop/test_rules_mihomo.py --rules-pairs 100000 --rules-seed 7

asks about more, and other ones. A disagreement is shown with its seed and the rules.
"""

from pathlib import Path

import pytest

from tests.interop.rules_broken import Breaker
from tests.interop.rules_files import Files
from tests.interop.rules_ours import Ours, refusal
from tests.interop.rules_peer import (
    DNS_PORT,
    TARGETS,
    TCP_ONLY,
    Mihomo,
    NameServer,
    Sent,
    list_name,
    listeners,
)
from tests.interop.rules_random import Maker, World
from tests.system.conftest import can_make_namespaces
from tests.unit.rulesets.programs import needs_mihomo

LISTS = 100  # of one world; each has a port of its own
WORLD = 5000  # pairs of one world
SHOWN = 10  # disagreements
BROKEN = 500  # lines
# Where we are stricter than mihomo, which takes these lines and does something else than what was meant.
STRICTER = (
    "unknown parameter",  # it overlooks NO-RESOLVE, and a second target
    "no number of an autonomous system",  # it takes any word, which nothing is ever in
    "unknown rule set 'asn:",  # likewise a number that its file does not have
    "unknown rule set 'geosite:",  # and an attribute
    "SUB-RULE wants",  # what is behind the parenthesis it forgets
    "is neither a number nor a range",  # and empty parts of `80//443`
    "is not within 0 to 63",  # DSCP,512 is DSCP,0 to it
    "is not part of RE2",  # back-references and the like take exponential time
)

pytestmark = [
    needs_mihomo,
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root and /dev/net/tun"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--rules-seed"))


def settings_of(world: World, files: Files, *, database: bool) -> dict[str, object]:
    """Return what mihomo is to know of a world."""
    lists = {list_name(number): lines for number, lines in enumerate(world.lists)}
    return {
        "geodata-mode": not database,
        "listeners": listeners(len(world.lists), world.closed),
        "sub-rules": {"sink": ["MATCH,SINK"], **world.named, **lists},
        "rule-providers": files.providers,
    }


def test_random_flows_get_the_target_that_mihomo_chooses(
    request: pytest.FixtureRequest, tmp_path: Path, seed: int
) -> None:
    pairs = int(request.config.getoption("--rules-pairs"))
    worlds = max(2, -(-pairs // WORLD))
    flows = -(-pairs // (worlds * LISTS))
    asked = 0
    wrong: list[str] = []
    for number in range(worlds):
        folder = tmp_path / str(number)
        folder.mkdir()
        disagreements, count = compare(folder, seed + number, flows, database=number % 2 == 1)
        asked += count
        wrong += disagreements
    assert asked >= pairs
    assert not wrong, f"{len(wrong)} of {asked}:\n" + "\n\n".join(wrong[:SHOWN])


def compare(folder: Path, seed: int, flows: int, *, database: bool) -> tuple[list[str], int]:
    """Ask both about a world; return the disagreements, and how many pairs were asked."""
    world = Maker(seed, str(folder), database=database).world(LISTS, flows)
    files = Files(world, folder)
    ours = Ours(world, files.contents(from_database=database), (*TARGETS, *TCP_ONLY), folder)
    with Mihomo(folder, settings_of(world, files, database=database)) as peer:
        server = NameServer(peer.namespace.datagram("127.0.0.1", DNS_PORT), world.addresses)
        try:
            theirs = peer.ask(world.flows)
            differing = [flow for flow in world.flows if ours.answer(flow) != theirs.get(flow.key)]
            # It goes on without addresses where no resolver answers in time, as on a busy machine.
            theirs |= peer.ask(differing)
        finally:
            server.close()
    wrong = []
    for flow in differing:
        mine, other = ours.answer(flow), theirs.get(flow.key, "nothing")
        if mine != other:
            wrong.append(shown(world, flow, mine, other, seed))
    return wrong, len(world.flows)


def shown(world: World, flow: Sent, mine: str, theirs: str, seed: int) -> str:
    rules = "\n    ".join(world.lists[flow.listing])
    return f"seed {seed}: ours {mine}, mihomo {theirs}: {flow} {world.addresses.get(flow.host)}\n    {rules}"


def test_broken_lines_are_refused_where_mihomo_refuses_them(tmp_path: Path, seed: int) -> None:
    maker = Maker(seed, str(tmp_path), database=False)
    world = maker.world(1, 1)
    files = Files(world, tmp_path)
    sets = files.contents(from_database=False)
    lines = Breaker(seed, maker).lines(BROKEN)
    sub_rules = {"s": ["MATCH,P0"]}
    common = {"sub-rules": sub_rules, "rule-providers": files.providers}
    wrong = []
    refused = 0
    with Mihomo(tmp_path, common) as peer:
        for line in lines:
            mine = refusal(line, sets, (*TARGETS, *TCP_ONLY, "SINK"), sub_rules)
            theirs = peer.load({**common, "rules": [line]})
            refused += bool(theirs)
            stricter = any(text in mine for text in STRICTER)
            looser = "only TCP/UDP" in theirs  # we have ICMP as well
            if (mine and not theirs and not stricter) or (theirs and not mine and not looser):
                wrong.append(f"{line!r}: ours {mine or 'takes it'}, mihomo {theirs or 'takes it'}")
    assert not wrong, "\n".join(wrong[:SHOWN])
    assert BROKEN / 4 < refused < BROKEN
