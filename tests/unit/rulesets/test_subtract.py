"""One set without another."""

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rulesets.flows import To, holds
from tunproxy.rules.model import Condition, RuleSetContent
from tunproxy.rulesets.subtract import subtract

NAMES = ["a", "b.a", "c.b.a", "d.b.a", "d.a", "e.c.b.a", "x", "y.x"]
some = st.lists(st.sampled_from(NAMES), max_size=3)
contents = st.builds(
    RuleSetContent,
    exact=some,
    suffix=some,
    below=some,
    wildcard=st.lists(st.sampled_from(["*.a", "+.*.b.a"]), max_size=1),
    keyword=st.lists(st.sampled_from(["c", "y"]), max_size=1),
    regex=st.lists(st.sampled_from(["^d", "x$"]), max_size=1),
    ranges=st.lists(st.just((4, 1, 2)), max_size=1),
    conditions=st.lists(st.just(Condition("DST-PORT", "80")), max_size=1),
)
FLOWS = [To(name, "0.0.0.1", port) for name in [*NAMES, "z.y.x", "f.e.c.b.a", "q"] for port in (80, 443)]


@given(contents, contents)
def test_what_is_left_is_in_the_one_and_not_in_the_other(
    content: RuleSetContent, exceptions: RuleSetContent
) -> None:
    left = subtract(content, exceptions)
    for flow in FLOWS:
        assert holds(left, flow) is (holds(content, flow) and not holds(exceptions, flow)), flow


def test_names_that_no_exception_concerns_stay_names() -> None:
    content = RuleSetContent(exact=["x"], suffix=["a", "b"], below=["c"])
    left = subtract(content, RuleSetContent(suffix=["d.a"], exact=["b"]))
    assert (left.exact, left.suffix, left.below, len(left.conditions)) == (["x"], [], ["b", "c"], 1)


def test_nothing_to_subtract() -> None:
    content = RuleSetContent(suffix=["a"])
    assert subtract(content, RuleSetContent()) is content
