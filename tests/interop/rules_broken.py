"""Rule lines that somebody got wrong: good ones with a part left out, doubled, moved or changed."""

import random
from collections.abc import Callable

from tests.interop.rules_random import Maker

MORE_KINDS = (
    "FINAL",
    "DOMAIN-SET",
    "USER-AGENT",
    "DOMAINSUFFIX",
    "IP_CIDR",
    "",
    "DOMAIN SUFFIX",
    "GEO",
    "SCRIPT",
)
ODD_PAYLOADS = (
    "", " ", "1.2.3.4", "1.2.3.4/33", "1.2.3/8", "::1", "::1/129", "fe80::1%eth0/64", "01.2.3.4/8",
    "1.2.3.4/08", "1.2.3.4/-1", "1.2.3.4/+8", "80-", "-80", "80,443", "80//443", "70000", "1-2-3", "+5",
    "0x50", "99999999999", "icmp", "TCP/UDP", "64", "1.5", "AS13335", "-1", "SOCKS5/", "/", "a//b",
    "nothing", "(", "[a-", "a{2,1}", "*", "(?i", "(?=a)", r"\1", "a**", "a++", "(DOMAIN,a.com)",
    "((DOMAIN,a.com)", "((DOMAIN))", "((MATCH))", "()", "(())", "((DOMAIN,a.com),(DOMAIN,b.com))",
    "((DOMAIN,a.com)(DOMAIN,b.com))", "((NOT,((DOMAIN,a.com))))", "a b", "cn,",
    "((SUB-RULE,(DOMAIN,a.com),s))", "((RULE-SET,domain-plain-1))", "((RULE-SET,nothing))", "!cn", "!",
    "cn@", "lan",
)  # fmt: skip
ODD_TARGETS = (
    "",
    " ",
    "p0",
    "Nobody",
    "no-resolve",
    "src",
    "DIRECT",
    "reject",
    "PASS",
    "GLOBAL",
    "DNS",
    "P0 P1",
)
ODD_PARAMS = (
    ",no-resolve",
    ",src",
    ",noresolve",
    ",",
    ",x",
    ",NO-RESOLVE",
    ",no-resolve,src",
    ",src,src",
    ",P1",
)


class Breaker:
    """Draws lines from one seed, by way of a maker's good ones."""

    def __init__(self, seed: int, maker: Maker) -> None:
        self.chance = random.Random(seed)
        self.maker = maker
        self.ways: tuple[Callable[[list[str]], str], ...] = (
            self.without_a_field, self.with_a_field_twice, self.with_fields_exchanged, self.with_another_kind,
            self.with_another_payload, self.with_another_payload, self.with_another_target,
            self.with_more_behind, self.with_a_character_changed, self.with_a_character_changed,
        )  # fmt: skip

    def lines(self, count: int) -> list[str]:
        """Return so many lines, all different."""
        found: dict[str, None] = {}
        while len(found) < count:
            fields = [field.strip() for field in self.maker.rule(["s"]).split(",")]
            found[self.chance.choice(self.ways)(fields)] = None
        return list(found)

    def at(self, fields: list[str]) -> int:
        return self.chance.randrange(len(fields))

    def without_a_field(self, fields: list[str]) -> str:
        del fields[self.at(fields)]
        return ",".join(fields)

    def with_a_field_twice(self, fields: list[str]) -> str:
        at = self.at(fields)
        return ",".join([*fields[:at], fields[at], *fields[at:]])

    def with_fields_exchanged(self, fields: list[str]) -> str:
        one, other = self.at(fields), self.at(fields)
        fields[one], fields[other] = fields[other], fields[one]
        return ",".join(fields)

    def with_another_kind(self, fields: list[str]) -> str:
        return ",".join([self.chance.choice((*MORE_KINDS, *self.maker.kinds)), *fields[1:]])

    def with_another_payload(self, fields: list[str]) -> str:
        return ",".join([fields[0], self.chance.choice(ODD_PAYLOADS), *fields[2:]])

    def with_another_target(self, fields: list[str]) -> str:
        return ",".join([*fields[:2], self.chance.choice(ODD_TARGETS), *fields[3:]])

    def with_more_behind(self, fields: list[str]) -> str:
        return ",".join(fields) + self.chance.choice(ODD_PARAMS)

    def with_a_character_changed(self, fields: list[str]) -> str:
        line = ",".join(fields)
        at = self.chance.randrange(len(line))
        return (
            line[:at] + self.chance.choice(("", "(", ")", ",", " ", "/", "-", "*", "A", "9")) + line[at + 1 :]
        )
