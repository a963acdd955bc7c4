"""What our rules say of the flows that mihomo is asked about, with the same facts."""

from pathlib import Path

from tests.interop.rules_peer import FIRST_PORT, SENDERS, TCP_ONLY, Sent, inbound_name, sender_path
from tests.interop.rules_random import World
from tests.unit.rules.rulebook import packed
from tunproxy.rules.compile import compile_rules, needed_sets
from tunproxy.rules.facts import NEEDS_ADDRESS, NEEDS_NAME, Facts
from tunproxy.rules.files import parse_rules
from tunproxy.rules.model import Rule, RuleErrors, RuleSetContent
from tunproxy.rules.policy import UNDECIDED, CompiledRules

IN_TYPES = {"socks5": "SOCKS5", "socks4": "SOCKS4", "http": "HTTP", "https": "HTTPS", "udp": "SOCKS5"}


def rules_of(lines: list[str]) -> list[Rule]:
    """Return lines as rules; all of them have to be right."""
    result = parse_rules("\n".join(lines).encode())
    assert not result.errors, [(str(error), result.show(error.position)) for error in result.errors]
    return result.rules


def refusal(
    line: str, sets: dict[str, RuleSetContent], targets: tuple[str, ...], sub_rules: dict[str, list[str]]
) -> str:
    """Return why a line is no rule for us, "" if it is one."""
    result = parse_rules(line.encode())
    if result.errors or not result.rules:
        return str(result.errors[0]) if result.errors else "an empty line"
    try:
        compile_rules(
            result.rules, sets, targets, {name: rules_of(lines) for name, lines in sub_rules.items()}
        )
    except RuleErrors as error:
        return str(error)
    return ""


def facts_of(flow: Sent, folder: Path) -> Facts:
    """Return what is known of a flow from the start."""
    facts = Facts(
        "udp" if flow.via == "udp" else "tcp",
        packed(flow.source),
        flow.source_port,
        packed(flow.address) if flow.address else b"",
        flow.port,
    )
    facts.host = flow.host
    facts.process_asked = True
    sender = SENDERS[flow.sender]
    facts.process_name = sender.name
    facts.process_path = str(sender_path(folder, sender))
    facts.uid = sender.uid
    facts.in_port = FIRST_PORT + flow.listing
    facts.in_name = inbound_name(flow.listing)
    facts.in_type = IN_TYPES[flow.via]
    facts.in_user = flow.user
    return facts


def choose(rules: CompiledRules, facts: Facts, addresses: tuple[str, ...]) -> str:
    """Return the target, having found out what rules ask for; addresses are those of the flow's host."""
    start = 0
    while True:
        found = rules.match(facts, start)
        if found == UNDECIDED:
            learn(facts, addresses)
            continue
        if found < 0:
            return "DIRECT"
        target = rules.target(facts)
        if facts.network != "udp" or target not in TCP_ONLY:
            return target
        start = int(found) + 1


def learn(facts: Facts, addresses: tuple[str, ...]) -> None:
    """Add what facts.needs asks for: IPv4 addresses come before IPv6 ones, as in mihomo."""
    assert facts.needs & (NEEDS_ADDRESS | NEEDS_NAME), facts.needs
    if facts.needs & NEEDS_NAME:
        facts.host_asked = True
    if facts.needs & NEEDS_ADDRESS:
        facts.address_asked = True
        for address in sorted(addresses, key=lambda text: ":" in text)[:1]:
            facts.target = packed(address)


class Ours:
    """The lists of a world, compiled."""

    def __init__(
        self, world: World, sets: dict[str, RuleSetContent], targets: tuple[str, ...], folder: Path
    ) -> None:
        self.world = world
        self.folder = folder
        named = {name: rules_of(lines) for name, lines in world.named.items()}
        self.lists = []
        for number, lines in enumerate(world.lists):
            rules = rules_of(lines)
            own = {name: rules for name, rules in named.items() if name.startswith(f"list{number}-")}
            assert needed_sets(rules, own) <= set(sets)
            self.lists.append(compile_rules(rules, sets, targets, own))

    def answer(self, flow: Sent) -> str:
        """Return the target of a flow."""
        facts = facts_of(flow, self.folder)
        return choose(self.lists[flow.listing], facts, self.world.addresses.get(flow.host, ()))
