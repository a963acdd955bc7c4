"""Records as people read them."""

from tests.unit.decide.test_deciding import SNIFFED, Reading
from tests.unit.decide.test_explain import explained
from tests.unit.decide.test_record import record
from tests.unit.decide.test_trace import Program
from tests.unit.decide.world import World, flow, trace
from tunproxy.decide.record import Dial, Ending, record_of
from tunproxy.decide.words import describe_record, sentence
from tunproxy.flow.verdict import DIAL, Verdict


def test_first_the_verdict_then_why() -> None:
    world = World("DST-PORT,22,REJECT", "DOMAIN,example.org,work")
    document = explained(
        world, "example.org", addresses=["192.0.2.9"], process="7", owner=lambda name: Program(why="shy")
    )
    assert describe_record(document).splitlines() == [
        "tcp to example.org:443 goes through work by way of 192.0.2.1:1080, "
        "because of rule 2 (test.rules:2): DOMAIN,example.org,work",
        "",
        "name       example.org (given)",
        "address    192.0.2.9 (resolved)",
        "process    curl (/usr/bin/curl), user 1000, unit app.scope; the rest is unknown: shy",
        "rules      not matched        1 DST-PORT,22,REJECT  (port 443)",
        "           matched            2 DOMAIN,example.org,work  (host example.org (given))",
    ]


def test_sentences() -> None:
    assert (
        sentence(record(World()))
        == "tcp to 93.184.216.34:443 goes through direct, by default, as no rule matched"
    )
    drop = record(World("MATCH,REJECT-DROP"), flow("2001:db8::1", 0, "icmp"))
    assert (
        sentence(drop)
        == "ping of 2001:db8::1 gets no answer, because of rule 1 (test.rules:1): MATCH,REJECT-DROP"
    )
    refused = record(World(default="web"), flow("2001:db8::1", 53, "udp"))
    assert sentence(refused) == "udp to [2001:db8::1]:53 is refused, web, the default, cannot carry it"


def test_what_a_mode_decides_is_no_plugin_s() -> None:
    world = World("MATCH,REJECT")
    info = flow()
    world.ruling.trace(info).chosen = Verdict(DIAL, "direct", why="mode direct")
    verdict = world.ruling.judge(info, trace(info), False, True)
    assert sentence(record_of(info, verdict, world.book)) == (
        "tcp to 93.184.216.34:443 goes through direct, before any rule was asked: mode direct"
    )


def test_flow_that_cannot_be_decided_says_what_for_and_what_otherwise() -> None:
    document = explained(World(*SNIFFED), "192.0.2.1", worth_waiting=Reading().is_worth_waiting)
    assert sentence(document) == (
        "tcp to 192.0.2.1:443: decided when the client has spoken, because a rule needs the name; "
        "without one it goes through direct"
    )
    document = explained(World("IP-CIDR,10.0.0.0/8,work"), "example.org", resolve=None)
    assert sentence(document) == "tcp to example.org:443: not decided before the address is known"


def test_many_rules_that_did_not_match_are_counted() -> None:
    lines = [f"DST-PORT,{port},REJECT" for port in range(1, 31)]
    document = record(World(*lines, "MATCH,work"))
    text = describe_record(document)
    assert "… 22 rules that did not match (--all shows them)" in text
    assert len(text.splitlines()) == 2 + 3 + 1 + 8 + 1
    assert len(describe_record(document, every_rule=True).splitlines()) == 2 + 3 + 31


def test_attempts_and_the_end() -> None:
    dials = [Dial("192.0.2.1:1080", 12.3, "refused"), Dial("192.0.2.2:1080", 5.0)]
    lines = describe_record(
        record(World(), dials=dials, ending=Ending("reset by client", 1.5, 10, 20))
    ).splitlines()
    assert lines[-3:] == [
        "attempts   192.0.2.1:1080: refused after 12.3 ms",
        "           192.0.2.2:1080: connected after 5 ms",
        "closed     reset by client after 1.5 s; 10 octets up, 20 down",
    ]


def test_what_comes_from_the_network_does_not_steer_the_terminal() -> None:
    document = record(World())
    document["inputs"]["name"]["value"] = "a\x1b[31m.example"  # type: ignore[index]
    assert "\x1b" not in describe_record(document)


def test_what_a_rule_would_have_done_is_said() -> None:
    text = describe_record(record(World("DST-PORT,443,REJECT,observe", "MATCH,work")))
    assert (
        "observed   rule 1 (test.rules:1) would have sent it to REJECT, and only counts: "
        "DST-PORT,443,REJECT,observe\n"
    ) in text
    assert "would have         1 DST-PORT,443,REJECT,observe  (port 443: would have gone to REJECT)" in text
