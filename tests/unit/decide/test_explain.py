"""Explaining flows that nobody has made."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.unit.decide.test_deciding import SNIFFED, Reading, Saying
from tests.unit.decide.test_trace import Program
from tests.unit.decide.world import Names, World, named
from tunproxy.decide.explain import Explainer
from tunproxy.decide.question import parse_question
from tunproxy.decide.record import Document
from tunproxy.flow.verdict import DIAL, OPEN, FlowInfo, Verdict

WEB = ("DOMAIN-SUFFIX,example.org,work", "IP-CIDR,192.0.2.0/24,REJECT", "PROCESS-NAME,curl,web", "UID,5,work")


def explained(world: World, target: str, *, addresses: Sequence[str] | Exception = (), **more) -> Document:
    """Explain target with a resolver that answers addresses; more goes to the question or the explainer."""

    async def resolve(name: str) -> Sequence[str]:
        if isinstance(addresses, Exception):
            raise addresses
        return addresses

    asked = {name: more.pop(name) for name in ("source", "host", "process", "uid") if name in more}
    explainer = Explainer(world.ruling, world.book, resolve=more.pop("resolve", resolve), **more)
    return asyncio.run(explainer.explain(parse_question(target, **asked)))


def test_name_decides() -> None:
    document = explained(World(*WEB), "www.example.org:443", addresses=["192.0.2.9", "192.0.2.10"])
    assert document["verdict"]["upstream"] == "work"
    assert document["inputs"]["name"]["from"] == "given"
    assert document["inputs"]["address"] == {
        "value": "192.0.2.9", "from": "resolved", "others": ["192.0.2.10"], "why": "",
    }  # fmt: skip
    assert document["question"]["host"] == "www.example.org"


def test_address_decides_by_the_name_that_a_client_was_told() -> None:
    names = Names({"192.0.2.9": named("www.example.org")})
    document = explained(World(*WEB, names=names), "192.0.2.9")
    assert (document["verdict"]["upstream"], document["inputs"]["name"]["from"]) == ("work", "dns")


def test_address_decides_after_the_name_did_not() -> None:
    assert explained(World(*WEB), "example.com", addresses=["192.0.2.9"])["verdict"]["upstream"] == "reject"


@pytest.mark.parametrize(
    ("addresses", "why"), [((), "there is no such name"), (OSError("no network"), "no network")]
)
def test_name_that_cannot_be_resolved_says_why(addresses: Sequence[str] | Exception, why: str) -> None:
    document = explained(World(*WEB), "example.com", addresses=addresses)
    assert document["inputs"]["address"]["why"] == why
    assert (document["verdict"]["decided_by"], document["flow"]["target"]) == ("default", None)


def test_without_a_resolver_it_says_that_the_address_is_missing() -> None:
    document = explained(World(*WEB), "example.com", resolve=None)
    assert (document["verdict"]["decided_by"], document["verdict"]["needs"]) == ("nobody yet", ["address"])


def test_process_is_what_the_question_says() -> None:
    document = explained(World(*WEB), "198.51.100.1", process="/opt/curl")
    assert document["verdict"]["upstream"] == "web"
    assert document["inputs"]["process"]["why"] == "no process '/opt/curl' is running"
    document = explained(World(*WEB), "198.51.100.1", uid=5)
    assert document["verdict"]["upstream"] == "work"
    document = explained(World(*WEB), "198.51.100.1", process="7", owner=lambda name: Program(uid=1000))
    assert (document["verdict"]["upstream"], document["inputs"]["process"]["uid"]) == ("web", 1000)
    document = explained(World(*WEB), "198.51.100.1")
    assert "says nothing of it" in document["inputs"]["process"]["why"]


def test_source_is_where_the_question_says_or_where_clients_are() -> None:
    world = World("SRC-IP-CIDR,10.1.0.0/16,work", "SRC-PORT,77,web")
    assert explained(world, "192.0.2.1", source="10.1.2.3")["verdict"]["upstream"] == "work"
    assert explained(world, "192.0.2.1", source="10.2.2.3:77")["verdict"]["upstream"] == "web"
    assert explained(world, "192.0.2.1", client4=bytes([10, 1, 0, 1]))["verdict"]["upstream"] == "work"
    assert explained(world, "2001:db8::1", client6=bytes(15) + b"\7")["flow"]["client"] == "::7"


def test_plugins_are_asked() -> None:
    verdict = Verdict(DIAL, "mine")
    document = explained(World("MATCH,work"), "192.0.2.1", stages=[Saying(None), Saying(verdict)])
    assert (document["verdict"]["upstream"], len(document["plugins"]), document["rules"]) == ("mine", 2, [])


def test_name_that_only_the_client_can_tell_and_what_happens_without() -> None:
    document = explained(World(*SNIFFED), "192.0.2.1", worth_waiting=Reading().is_worth_waiting)
    assert document["verdict"]["kind"] == "sniff"
    assert document["otherwise"]["upstream"] == "direct"
    document = explained(World(*SNIFFED), "192.0.2.1:22", worth_waiting=Reading().is_worth_waiting)
    assert (document["verdict"]["upstream"], document["otherwise"]) == ("direct", None)


def test_fake_addresses_are_resolved_only_where_a_rule_wants_them() -> None:
    def is_fake(name: str) -> bool:
        return name != "real.example"

    lines = ("IP-CIDR,192.0.2.0/24,REJECT,no-resolve", "MATCH,work")
    document = explained(World(*lines), "example.com", addresses=["192.0.2.9"], is_fake=is_fake)
    assert document["verdict"]["upstream"] == "work"
    assert document["inputs"]["name"]["from"] == "fake-ip"
    assert document["inputs"]["address"]["why"] == "not needed"
    document = explained(World(*lines), "real.example", addresses=["192.0.2.9"], is_fake=is_fake)
    assert document["verdict"]["upstream"] == "reject"
    document = explained(World(*WEB), "example.com", addresses=["192.0.2.9"], is_fake=is_fake)
    assert document["verdict"]["upstream"] == "reject"
    document = explained(World(), "example.com", addresses=["192.0.2.9"], is_fake=is_fake)
    assert (document["verdict"]["upstream"], document["verdict"]["address"]) == ("direct", "192.0.2.9")


class Waited(Saying):
    """Has to be waited for, and says then what settled is."""

    def __init__(self, settled: Verdict | None) -> None:
        super().__init__(Verdict(OPEN, "wait"))
        self.comes_to = settled

    async def settled(self, info: FlowInfo, verdict: Verdict) -> Verdict | None:
        assert verdict.upstream == "wait"
        return self.comes_to


def test_who_has_to_be_waited_for_is_waited_for() -> None:
    document = explained(World(*WEB), "192.0.2.9", stages=[Waited(Verdict(DIAL, "there", why="so it is"))])
    assert (document["verdict"]["upstream"], document["verdict"]["decided_by"]) == ("there", "plugin")


def test_rules_decide_without_hearing_the_client_where_he_has_no_opinion() -> None:
    world = World(*WEB, sniffer=Reading())
    document = explained(world, "192.0.2.9", stages=[Waited(None)], worth_waiting=lambda protocol, port: True)
    assert (document["verdict"]["decided_by"], document["verdict"]["upstream"]) == ("rule", "reject")
