"""What is known of a flow."""

from tests.unit.rules.rulebook import flow, packed
from tunproxy.rules.facts import NEEDS_ADDRESS, NEEDS_PROCESS, Facts, Lookup, need_names


class Finder(Lookup):
    def __init__(self, *, ready: bool) -> None:
        self.ready = ready
        self.asked = 0

    def process(self, facts: Facts) -> bool:
        self.asked += 1
        facts.process_name = "curl" if self.ready else None
        return self.ready


def test_process_is_looked_up_once() -> None:
    finder = Finder(ready=True)
    facts = flow(process_asked=False, lookup=finder)
    assert facts.has_process()
    assert facts.has_process()
    assert (finder.asked, facts.process_name) == (1, "curl")


def test_process_that_takes_time_is_needed() -> None:
    facts = flow(process_asked=False, lookup=Finder(ready=False))
    assert not facts.has_process()
    assert facts.needs == NEEDS_PROCESS


def test_swap_exchanges_both_ends_and_twice_is_nothing() -> None:
    facts = flow()
    facts.swap()
    assert (facts.source, facts.source_port) == (packed("93.184.216.34"), 443)
    facts.swap()
    assert (facts.target, facts.target_port) == (packed("93.184.216.34"), 443)


def test_lower_case_follows_the_text() -> None:
    facts = flow()
    assert [facts.lower(text) for text in ("Ab", "Cd", "Cd", "Ab")] == ["ab", "cd", "cd", "ab"]


def test_needs_have_names() -> None:
    assert need_names(NEEDS_ADDRESS | NEEDS_PROCESS) == ["address", "process"]
