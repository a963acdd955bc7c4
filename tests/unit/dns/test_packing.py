"""Replies put together, as octets; dnspython judges them."""

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.dns.world import query, question, read, respond, texts
from tunproxy.dns.answers import read_answer
from tunproxy.dns.labels import text_of
from tunproxy.dns.message import (
    NOERROR,
    NOTIMP,
    SERVFAIL,
    A,
    Answer,
    read_question,
)
from tunproxy.dns.packing import pack_error, pack_reply, records_answer

ADDRESS = records_answer(A, 300, [bytes((192, 0, 2, 7))])


def test_reply_has_id_capitals_and_flags_of_the_query() -> None:
    wire = query("wWw.eXample", id=4711)
    found = read_question(wire)
    assert found is not None
    reply = pack_reply(found, ADDRESS, 0, False)
    assert dns.message.from_wire(wire).is_response(read(reply))
    assert reply[12:25] == wire[12:25]
    assert read(reply).flags == dns.flags.QR | dns.flags.RD | dns.flags.RA
    assert texts(reply) == ["wWw.eXample 300 A 192.0.2.7"]


def test_ttl_is_what_is_left_of_it() -> None:
    assert texts(pack_reply(question(), ADDRESS, 60, False)) == ["www.example 240 A 192.0.2.7"]
    assert texts(pack_reply(question(), ADDRESS, 900, False)) == ["www.example 0 A 192.0.2.7"]


def test_edns_is_answered_with_edns_only() -> None:
    assert read(pack_reply(question(), ADDRESS, 0, False)).edns == -1
    reply = read(pack_reply(question(use_edns=0, want_dnssec=True), ADDRESS, 0, False))
    assert (reply.edns, reply.payload, bool(reply.ednsflags & dns.flags.DO)) == (0, 1232, True)


def test_checked_answer_is_said_to_be_to_who_wants_to_know() -> None:
    checked = Answer(NOERROR, flags=dns.flags.AD)
    assert not read(pack_reply(question(), checked, 0, False)).flags & dns.flags.AD
    for options in ({"want_dnssec": True}, {"flags": dns.flags.RD | dns.flags.AD}):
        assert read(pack_reply(question(**options), checked, 0, False)).flags & dns.flags.AD


@pytest.mark.parametrize(("size", "count"), [(512, 29), (1232, 74), (4096, 253), (65535, 253)])
def test_reply_that_does_not_fit_is_empty_and_says_so(size: int, count: int) -> None:
    """29 addresses are 29 · 16 + 29 = 493 octets, and OPT 11 more."""
    asked = question(use_edns=0, payload=size)
    fits = records_answer(A, 1, [bytes((192, 0, 2, number)) for number in range(count)])
    reply = pack_reply(asked, fits, 0, False)
    assert len(reply) <= min(size, 4096)
    assert len(texts(reply)) == count
    longer = records_answer(A, 1, [bytes((192, 0, 2, 0))] * (count + 2))
    reply = pack_reply(asked, longer, 0, False)
    assert read(reply).flags & dns.flags.TC
    assert read(reply).answer == []
    assert len(read(pack_reply(asked, longer, 0, True)).to_wire()) > 40
    assert not read(pack_reply(asked, longer, 0, True)).flags & dns.flags.TC


def test_error_says_why_to_who_has_edns() -> None:
    reply = read(pack_error(question(use_edns=0), SERVFAIL, "nobody answers"))
    [option] = reply.options
    assert isinstance(option, dns.edns.EDEOption)
    assert (int(option.code), option.text) == (22, "nobody answers")


@given(st.binary(max_size=600))
def test_any_octets_have_a_reply_that_can_be_read_or_none(wire: bytes) -> None:
    check_reply(wire)


@given(st.data())
def test_mutated_query_has_a_reply_that_can_be_read_or_none(data: st.DataObject) -> None:
    wire = bytearray(query("www.example", use_edns=0, options=[dns.edns.ECSOption("192.0.2.0", 24)]))
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    check_reply(bytes(wire[: data.draw(st.integers(0, len(wire)))]))


def check_reply(wire: bytes) -> None:
    found = read_question(wire)
    if found is None:
        assert len(wire) < 12 or wire[2] & 0x80
        return
    text_of(found.name)
    reply = pack_error(found, found.fault) if found.fault else pack_reply(found, ADDRESS, 5, False)
    assert reply[:2] == wire[:2]
    assert reply[2] & 0x80
    if not wire[2] & 0x78 and found.fault != NOTIMP:
        message = dns.message.from_wire(reply)
        if not found.fault and not message.flags & dns.flags.TC:
            assert len(message.answer) == 1


def test_kept_answer_is_the_same_for_the_next_asker() -> None:
    """Records are compressed against the question, whose length is the same in any capitals."""
    asked = query("www.example")
    answer = read_answer(
        question(), respond(asked, "www.example 60 CNAME web.example.", "web.example 30 A 192.0.2.1")
    )
    reply = pack_reply(question("WWW.eXaMple"), answer, 10, False)
    assert texts(reply) == ["WWW.eXaMple 50 CNAME web.eXaMple.", "web.eXaMple 20 A 192.0.2.1"]
