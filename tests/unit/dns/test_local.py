"""What is answered without asking anybody."""

from collections import Counter

import pytest

from tests.unit.dns.world import Clock, question
from tests.unit.wire.frames import packed
from tunproxy.dns.fakeip import FakePool
from tunproxy.dns.hosts import Hosts
from tunproxy.dns.local import LocalAnswers
from tunproxy.dns.message import AAAA, FORMERR, NOERROR, REFUSED, A


def local(
    *, with_fakes: bool = False, hosts: dict[str, str] | None = None
) -> tuple[LocalAnswers, Counter[str]]:
    counts: Counter[str] = Counter()
    pool = FakePool(Clock()) if with_fakes else None
    return LocalAnswers(Hosts(hosts or {}), pool, None, counts), counts


@pytest.mark.parametrize(
    ("kind", "rcode"), [("AXFR", REFUSED), ("IXFR", REFUSED), ("ANY", REFUSED), ("OPT", FORMERR)]
)
def test_what_nobody_is_asked_for_is_refused(kind: str, rcode: int) -> None:
    found = local()[0].answer(question(kind=kind), 0)
    assert found is not None
    assert found.rcode == rcode


def test_class_that_is_not_the_internets_is_refused() -> None:
    answers, counts = local()
    found = answers.answer(question(rdclass="CH"), 0)
    assert found is not None
    assert (found.rcode, counts["refused"]) == (REFUSED, 1)


def test_hosts_come_before_fakes() -> None:
    answers, counts = local(with_fakes=True, hosts={"nas.lan": "192.0.2.9", "nas.example": "192.0.2.9"})
    found = answers.answer(question("nas.example"), 0)
    assert found is not None
    assert found.addresses == (packed("192.0.2.9"),)
    assert counts == {"hosts": 1}


def test_ways_round_us_are_not_there() -> None:
    found = local()[0].answer(question("_dns.resolver.arpa", "SVCB"), 0)
    assert found is not None
    assert (found.rcode, found.counts) == (NOERROR, (0, 0, 0))


def test_alias_of_the_users_is_asked_about_and_not_faked() -> None:
    answers, _ = local(with_fakes=True, hosts={"www.example": "web.example"})
    assert answers.answer(question(), 0) is None
    assert answers.alias("www.example", 0) == "web.example"


def test_fake_addresses_are_for_questions_about_addresses() -> None:
    answers, counts = local(with_fakes=True)
    assert answers.answer(question(), 0) is not None
    assert answers.answer(question(kind="MX"), 0) is None
    pointer = answers.answer(question("16.0.18.198.in-addr.arpa", "PTR"), 0)
    assert pointer is not None
    assert pointer.counts == (1, 0, 0)
    assert answers.answer(question("1.2.0.192.in-addr.arpa", "PTR"), 0) is None
    assert counts == {"fake": 2}
    assert answers.wants_fake("www.example")
    assert not answers.wants_fake("nas.lan")


def test_real_address_of_a_name_that_has_fake_ones() -> None:
    answers, _ = local(with_fakes=True, hosts={"nas.example": "192.0.2.9"})
    assert answers.real("www.example", A, 0) is None
    found = answers.real("nas.example", A, 0)
    assert found is not None
    assert found.addresses == (packed("192.0.2.9"),)
    empty = answers.real("nas.example", AAAA, 0)
    assert empty is not None
    assert empty.addresses == ()


def test_without_fakes_nobody_wants_any() -> None:
    answers, _ = local()
    assert not answers.wants_fake("www.example")
    assert answers.answer(question(), 0) is None


def test_fake_is_what_nobody_has_fixed() -> None:
    answers, _ = local(with_fakes=True, hosts={"nas.example": "192.0.2.9", "files.example": "a.example"})
    names = ("a.example", "nas.example", "files.example", "_dns.resolver.arpa")
    assert [name for name in names if answers.gives_fake(name, 0)] == ["a.example"]
    assert not local()[0].gives_fake("a.example", 0)
