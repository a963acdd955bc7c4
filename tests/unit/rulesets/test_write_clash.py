"""Sets written for Clash. What mihomo makes of them is tested with .mrs."""

import pytest

from tests.unit.rulesets.flows import To, holds
from tunproxy.rules.model import Condition, RuleSetContent
from tunproxy.rulesets.clash_text import read_text
from tunproxy.rulesets.clash_yaml import read_yaml
from tunproxy.rulesets.mrs import read_mrs
from tunproxy.rulesets.unfold import unfolded
from tunproxy.rulesets.write_clash import write_mrs, write_text, write_yaml

NAMES = RuleSetContent(exact=["e.x"], suffix=["s.x"], below=["b.x"], wildcard=["*.w.x", "+.*.v.x", ".*.u.x"])
RANGES = RuleSetContent(ranges=[(4, 5, 9), (4, 100, 199), (6, 1 << 100, (1 << 100) + 3)])
MIXED = RuleSetContent(
    ["e.x"], ["s.x"], [], [], ["k'w"], [r"^r,{1,2}$"], [(4, 1, 1)], [Condition("DST-PORT", "80")]
)


@pytest.mark.parametrize("form", ["text", "yaml", "mrs"])
def test_names_and_addresses_come_back(form: str) -> None:
    for content, behavior in ((NAMES, "domain"), (RANGES, "ipcidr")):
        if form == "mrs":
            data, missing = write_mrs(content, behavior)
            back = unfolded(read_mrs(data, "x", behavior))
        else:
            data, missing = (write_text if form == "text" else write_yaml)(content, behavior)
            back = (read_text if form == "text" else read_yaml)(data, behavior, "x")
        assert missing == 0
        assert (
            sorted(back.exact + back.suffix + back.below)
            == ["b.x", "e.x", "s.x"][: 3 * (behavior == "domain")]
        )
        assert sorted(back.wildcard) == sorted(content.wildcard)
        assert sum(last - first + 1 for _, first, last in back.ranges) == (109 if behavior == "ipcidr" else 0)
        assert back.suffix == content.suffix


def test_everything_is_classical() -> None:
    for data, missing, read in (
        (*write_text(MIXED, "classical"), read_text),
        (*write_yaml(MIXED, "classical"), read_yaml),
    ):
        assert missing == 0
        back = read(data, "classical", "x")
        assert (back.exact, back.suffix, back.keyword, back.regex) == (
            ["e.x"],
            ["s.x"],
            ["k'w"],
            [r"^r,{1,2}$"],
        )
        for flow in (To("", "0.0.0.1"), To(port=80), To("q")):
            assert holds(back, flow) is holds(MIXED, flow)


def test_what_has_no_room_is_counted() -> None:
    assert write_text(MIXED, "domain")[1] == 4
    assert write_mrs(MIXED, "ipcidr")[1] == 5
    with pytest.raises(ValueError, match="no behavior"):
        write_mrs(MIXED, "classical")
