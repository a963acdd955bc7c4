"""The table of kinds."""

import re
from pathlib import Path

import pytest

from tests.unit.rules.rulebook import flow
from tunproxy.rules.build import SET_KINDS, Builder
from tunproxy.rules.kinds import KINDS
from tunproxy.rules.model import Condition, RuleSetContent

EXAMPLES = {
    "address": "1.2.3.4/8",
    "IP-ASN": "7",
    "SRC-IP-ASN": "7",
    "IN-TYPE": "TUN",
    "NETWORK": "tcp",
    "TIME": "mon",
}
README = Path(__file__).resolve().parents[3] / "rules" / "README.md"


def example(kind: str) -> Condition:
    inner = Condition("NETWORK", "tcp")
    if KINDS[kind].nested:
        return Condition(kind, "", (), (inner,))
    default = "80" if kind in ("DST-PORT", "SRC-PORT", "IN-PORT", "UID", "DSCP") else "x"
    address = "address" if kind.endswith(("CIDR", "CIDR6", "IP-SUFFIX")) else kind
    return Condition(kind, EXAMPLES.get(address, default))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_matcher(kind: str) -> None:
    condition = example(kind)
    names = ("x", "geosite:x", "geoip:x", "asn:7") if kind in SET_KINDS else ()
    matcher = Builder({name: RuleSetContent() for name in names}).matcher(condition)
    assert matcher.test(flow("a.com")) in (0, 1)
    assert matcher.needs() >= 0


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_taught(kind: str) -> None:
    assert re.search(rf"`{kind}\b", README.read_text())
