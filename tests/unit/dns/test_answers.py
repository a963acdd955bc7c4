"""Responses of resolvers: what is believed, how long it is kept, what is garbage."""

import dns.edns
import dns.flags
import dns.message
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.dns.world import query, question, read, respond, texts
from tests.unit.wire.frames import packed
from tunproxy.dns.answers import GarbageError, alias_answer, is_truncated, make_query, read_answer
from tunproxy.dns.message import NXDOMAIN, REFUSED, Answer, Question, make_question
from tunproxy.dns.packing import pack_reply

SOA = "example 900 SOA ns.example. me.example. 1 7200 3600 86400 60"


def answer_to(asked: Question, *answers: str, without_hints: bool = False, **sections: object) -> Answer:
    wire = respond(make_query(asked, 1), *answers, **sections)  # type: ignore[arg-type]
    return read_answer(asked, wire, without_hints=without_hints)


def shown(asked: Question, answer: Answer) -> list[str]:
    return texts(pack_reply(asked, answer, 0, True))


def test_own_query_has_nothing_of_the_client_but_the_question_and_its_wish_for_signatures() -> None:
    options = [dns.edns.ECSOption("192.0.2.0", 24), dns.edns.CookieOption(b"12345678", b"")]
    asked = question("WWW.example", use_edns=0, payload=4096, want_dnssec=True, options=options)
    sent = dns.message.from_wire(make_query(asked, 4711))
    assert (sent.id, sent.edns, sent.payload, sent.options) == (4711, 0, 1232, ())
    assert sent.question[0].to_text() == "WWW.example. IN A"
    assert sent.flags == dns.flags.RD | dns.flags.AD
    assert sent.ednsflags == dns.flags.DO
    assert dns.message.from_wire(make_query(question(), 1, edns=False)).edns == -1


def test_query_tells_a_subnet_only_where_the_user_wants_that() -> None:
    [option] = dns.message.from_wire(make_query(question(), 1, subnet="203.0.113.0/24")).options
    assert isinstance(option, dns.edns.ECSOption)
    assert (option.address, option.srclen) == ("203.0.113.0", 24)


def test_padded_queries_have_one_length() -> None:
    sizes = {len(make_query(question(name), 1, pad=True)) for name in ("a.example", "much.longer.example")}
    assert sizes == {128}


def test_answer_along_aliases_is_believed_and_kept_for_its_shortest_ttl() -> None:
    asked = question()
    answer = answer_to(
        asked,
        "www.example 60 CNAME web.example.",
        "web.example 900 CNAME far.example.net.",
        "far.example.net 300 A 192.0.2.1",
        "far.example.net 300 A 192.0.2.2",
    )
    assert answer.lifetime == 60
    assert set(answer.addresses) == {packed("192.0.2.1"), packed("192.0.2.2")}
    assert len(shown(asked, answer)) == 4


def test_records_that_nobody_asked_for_are_left_out() -> None:
    asked = question()
    answer = answer_to(
        asked,
        "www.example 60 A 192.0.2.1",
        "bank.example 60 A 203.0.113.66",
        authority=("example 60 NS ns.evil.example.",),
        additional=("bank.example 60 A 203.0.113.66",),
    )
    assert shown(asked, answer) == ["www.example 60 A 192.0.2.1"]
    assert answer.addresses == (packed("192.0.2.1"),)
    message = read(pack_reply(asked, answer, 0, True))
    assert message.authority == []
    assert message.additional == []


def test_records_of_another_class_are_left_out() -> None:
    """An A record of CHAOS has a name and 16 bits in it, and no address."""
    asked = question()
    response = dns.message.make_response(dns.message.from_wire(make_query(asked, 1)))
    response.answer.append(dns.rrset.from_text("www.example.", 60, "CH", "A", ". 1"))
    response.answer.append(dns.rrset.from_text("www.example.", 60, "CLASS77", "A", r"\# 1 00"))
    response.answer.append(dns.rrset.from_text("www.example.", 60, "IN", "A", "192.0.2.1"))
    answer = read_answer(asked, response.to_wire())
    assert shown(asked, answer) == ["www.example 60 A 192.0.2.1"]
    assert answer.addresses == (packed("192.0.2.1"),)


def test_lifetime_that_is_negative_is_none() -> None:
    """RFC 2181 §8: a TTL with its highest bit set is zero."""
    asked = question()
    wire = bytearray(respond(make_query(asked, 1), "www.example 5 A 192.0.2.1"))
    wire[wire.rindex(b"\0\0\0\5")] = 0x80
    answer = read_answer(asked, bytes(wire))
    assert (answer.lifetime, answer.ttls[0][1]) == (0, 0)


def test_alias_of_a_whole_domain_stays() -> None:
    asked = question("www.old.example")
    answer = answer_to(
        asked,
        "old.example 60 DNAME new.example.",
        "www.old.example 60 CNAME www.new.example.",
        "www.new.example 60 A 192.0.2.1",
    )
    assert len(shown(asked, answer)) == 3
    assert answer.addresses == (packed("192.0.2.1"),)


def test_aliases_in_a_circle_are_garbage() -> None:
    with pytest.raises(GarbageError, match="lead nowhere"):
        answer_to(question(), "www.example 60 CNAME web.example.", "web.example 60 CNAME www.example.")


@pytest.mark.parametrize(
    ("soa", "lifetime"),
    [
        (SOA, 60),
        (SOA.replace(" 900 ", " 30 "), 30),
        (SOA.replace(" 60", " 999999").replace("900", "999999"), 10_800),
        ("", 0),
        (SOA.replace("example", "elsewhere", 1), 0),
    ],
)
@pytest.mark.parametrize("rcode", [0, 3])
def test_what_does_not_exist_is_kept_as_its_zone_says(rcode: int, soa: str, lifetime: int) -> None:
    answer = answer_to(question(), rcode=rcode, authority=(soa,) if soa else ())
    assert (answer.rcode, answer.lifetime, answer.addresses) == (rcode, lifetime, ())


def test_proof_of_absence_is_passed_on() -> None:
    asked = question(want_dnssec=True)
    nsec = "www.example 60 NSEC zzz.example. TXT RRSIG NSEC"
    answer = answer_to(asked, authority=(SOA, nsec, "example 60 NS ns.example."))
    names = [rrset.to_text().split()[3] for rrset in read(pack_reply(asked, answer, 0, True)).authority]
    assert sorted(names) == ["NSEC", "SOA"]


def test_checked_answer_is_marked() -> None:
    wire = dns.message.from_wire(respond(query(), "www.example 60 A 192.0.2.1"))
    wire.flags |= dns.flags.AD
    assert read_answer(question(), wire.to_wire()).flags == dns.flags.AD


def test_refusal_is_an_answer_without_records() -> None:
    answer = answer_to(question(), rcode=REFUSED)
    assert (answer.rcode, answer.records, answer.lifetime) == (REFUSED, b"", 0)


def test_unknown_type_is_passed_on() -> None:
    asked = question("www.example", "TYPE65432")
    answer = answer_to(asked, "www.example 60 TYPE65432 \\# 3 010203")
    assert shown(asked, answer) == ["www.example 60 TYPE65432 \\# 3 010203"]


def test_hints_of_services_are_addresses_and_are_taken_out_on_demand() -> None:
    asked = question("www.example", "HTTPS")
    record = (
        "www.example 60 HTTPS 1 . mandatory=alpn,ipv4hint alpn=h2,h3 ipv4hint=192.0.2.1,192.0.2.2 "
        "ech=AAT+DQAA ipv6hint=2001:db8::1"
    )
    answer = answer_to(asked, record)
    assert answer.addresses == (packed("192.0.2.1"), packed("192.0.2.2"), packed("2001:db8::1"))
    answer = answer_to(asked, record, without_hints=True)
    assert answer.addresses == ()
    [text] = shown(asked, answer)
    assert text == 'www.example 60 HTTPS 1 . mandatory="alpn" alpn="h2,h3" ech="AAT+DQAA"'


def test_record_that_needs_only_hints_needs_nothing_without_them() -> None:
    asked = question("www.example", "SVCB")
    answer = answer_to(
        asked, "www.example 60 SVCB 1 x.example. mandatory=ipv4hint ipv4hint=192.0.2.1", without_hints=True
    )
    assert shown(asked, answer) == ["www.example 60 SVCB 1 x.example."]


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        (b"", "no DNS message"),
        (b"\0" * 12, "no response"),
        (respond(query())[:-3], "no DNS message"),
        (respond(query("other.example")), "another question, other.example. IN A"),
        (respond(query("www.example", "AAAA")), "another question"),
        (respond(query(), "www.example 60 A 192.0.2.1") + b"\0", "no DNS message"),
        (respond(query(), "www.example 60 A 192.0.2.1")[:-1], "no DNS message"),
    ],
    ids=["nothing", "zeros", "short question", "other name", "other type", "more behind it", "short answer"],
)
def test_garbage_is_called_so(wire: bytes, why: str) -> None:
    with pytest.raises(GarbageError, match=why):
        read_answer(question(), wire)


def test_truncation_is_seen() -> None:
    wire = bytearray(respond(query()))
    assert not is_truncated(bytes(wire))
    wire[2] |= 2
    assert is_truncated(bytes(wire))


def test_alias_of_the_users_is_answered_with_both() -> None:
    asked, target = question(), make_question("web.example.net", 1)
    inner = answer_to(target, "web.example.net 300 CNAME x.example.net.", "x.example.net 300 A 192.0.2.1")
    answer = alias_answer(asked, 10, target, inner)
    assert shown(asked, answer) == [
        "www.example 10 CNAME web.example.net.",
        "web.example.net 300 CNAME x.example.net.",
        "x.example.net 300 A 192.0.2.1",
    ]
    assert (answer.lifetime, answer.addresses) == (10, (packed("192.0.2.1"),))
    missing = alias_answer(asked, 10, target, answer_to(target, rcode=NXDOMAIN, authority=(SOA,)))
    assert missing.rcode == NXDOMAIN


WHOLE = respond(
    query("www.example", "HTTPS"),
    "www.example 60 CNAME web.example.",
    "web.example 60 HTTPS 1 . alpn=h2 ipv4hint=192.0.2.1",
    authority=(SOA,),
)


@given(st.data())
def test_mutated_response_is_an_answer_or_garbage(data: st.DataObject) -> None:
    wire = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    check(bytes(wire[: data.draw(st.integers(0, len(wire)))]))


@given(st.binary(max_size=400))
def test_any_octets_behind_the_question_are_an_answer_or_garbage(octets: bytes) -> None:
    asked = question("www.example", "HTTPS")
    check(b"\0\0\x80\0\0\1\0\2\0\1\0\0" + asked.asked + octets)


def check(wire: bytes) -> None:
    asked = question("www.example", "HTTPS")
    try:
        answer = read_answer(asked, wire, without_hints=len(wire) % 2 == 0)
    except GarbageError:
        return
    if answer.rcode < 16:
        dns.message.from_wire(pack_reply(asked, answer, 1, True))
