"""Queries and responses read as octets, beside dnspython."""

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import pytest

from tests.unit.dns.world import query, question, read, respond
from tunproxy.dns.message import (
    BADVERS,
    FORMERR,
    NOERROR,
    NOTIMP,
    A,
    is_answer_to,
    make_question,
    read_question,
    ttls_in,
)
from tunproxy.dns.packing import pack_error, records_answer

ADDRESS = records_answer(A, 300, [bytes((192, 0, 2, 7))])


def fault_of(wire: bytes) -> int:
    found = read_question(wire)
    assert found is not None
    return found.fault


def test_question_is_read() -> None:
    found = question("WWW.Example", "AAAA")
    assert (found.host, found.type, found.klass, found.fault) == ("www.example", 28, 1, NOERROR)
    assert found.asked.startswith(b"\3WWW\7Example\0")
    assert (found.has_edns, found.size) == (False, 512)


def test_key_is_the_same_in_other_capitals_and_another_for_who_wants_signatures() -> None:
    plain = question("www.example").key
    assert question("WWW.EXAMPLE").key == plain
    assert question("www.example", use_edns=0, payload=4096).key == plain
    others = [
        question("www.example", want_dnssec=True).key,
        question("www.example", "AAAA").key,
        question("ww.example").key,
        question("www.example", flags=dns.flags.RD | dns.flags.CD).key,
    ]
    assert len({plain, *others}) == 5


def test_edns_of_the_query_is_read() -> None:
    found = question(
        use_edns=0, payload=1400, want_dnssec=True, options=[dns.edns.ECSOption("192.0.2.0", 24)]
    )
    assert (found.has_edns, found.size, found.dnssec_ok) == (True, 1400, True)


def test_edns_size_below_512_means_512() -> None:
    assert question(use_edns=0, payload=100).size == 512


@pytest.mark.parametrize("size", range(12))
def test_what_has_no_header_deserves_no_reply(size: int) -> None:
    assert read_question(query()[:size]) is None


def test_response_deserves_no_reply() -> None:
    assert read_question(respond(query())) is None


@pytest.mark.parametrize("size", range(12, len(query())))
def test_cut_query_is_a_format_error(size: int) -> None:
    assert fault_of(query()[:size]) == FORMERR


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda wire: wire[:2] + b"\x28\0" + wire[4:], NOTIMP),  # an update
        (lambda wire: wire[:4] + b"\0\2" + wire[6:], FORMERR),
        (lambda wire: wire[:4] + b"\0\0" + wire[6:], FORMERR),
        (lambda wire: wire[:12] + b"\xc0\x0c" + wire[-4:], FORMERR),  # points to itself
        (lambda wire: wire[:12] + b"\x40" + wire[13:], FORMERR),
        (lambda wire: wire[:12] + (b"\x3f" + b"x" * 63) * 5 + b"\0" + wire[-4:], FORMERR),
        (lambda wire: wire[:10] + b"\0\1" + wire[12:], FORMERR),  # an additional record that is not there
    ],
)
def test_query_that_cannot_be_has_a_fault(change, fault: int) -> None:  # type: ignore[no-untyped-def]
    wire = change(query())
    assert fault_of(wire) == fault
    found = read_question(wire)
    assert found is not None
    assert dns.message.from_wire(pack_error(found, fault)).rcode() == fault


def test_two_opt_records_are_a_format_error() -> None:
    wire = query(use_edns=0)
    assert fault_of(wire[:10] + b"\0\2" + wire[12:] + wire[-11:]) == FORMERR


def test_edns_of_another_version_is_refused_as_such() -> None:
    wire = bytearray(query(use_edns=0))
    wire[-5] = 1
    found = read_question(bytes(wire))
    assert found is not None
    assert found.fault == BADVERS
    assert read(pack_error(found, BADVERS)).rcode() == dns.rcode.BADVERS


def test_response_is_told_from_others() -> None:
    asked = query()
    assert is_answer_to(asked, respond(asked))
    assert is_answer_to(asked, respond(asked).replace(b"www", b"WWW"))
    assert not is_answer_to(asked, asked)
    assert not is_answer_to(asked, respond(asked).replace(b"www", b"wwx"))
    assert not is_answer_to(asked, bytes((asked[0] ^ 1,)) + respond(asked)[1:])
    assert not is_answer_to(asked, b"")
    bare = dns.message.make_response(dns.message.from_wire(asked))
    bare.question = []
    assert not is_answer_to(asked, bare.to_wire())
    bare.set_rcode(dns.rcode.FORMERR)
    assert is_answer_to(asked, bare.to_wire())


def test_own_question_is_read_as_such() -> None:
    found = make_question("www.example", A)
    assert (found.host, found.type, found.key) == ("www.example", A, question("www.example").key)


def test_records_that_are_cut_off_are_no_records() -> None:
    records = ADDRESS.records
    assert ttls_in(records, 0, 1) == ((6, 300),)
    for size in range(len(records)):
        with pytest.raises(ValueError, match="cut off"):
            ttls_in(records[:size], 0, 1)
