"""Queries of ours, and replies put together from records that are packed already (RFC 1035 §4, RFC 6891)."""

import struct
from typing import Final

from tunproxy.dns.message import (
    AD,
    CD,
    DO,
    HEADER_LEN,
    IN,
    MAX_MESSAGE,
    NO_REACHABLE_AUTHORITY,
    NOERROR,
    OPCODE,
    OPT,
    QR,
    RA,
    RD,
    TC,
    Answer,
    Question,
    header_fields,
    pair_fields,
    record_fields,
    ttls_in,
)

_EDE: Final = 15  # RFC 8914 §4
_PADDING: Final = 12  # RFC 7830

# our choices
UDP_SIZE: Final = 1232  # what we say that we take: one packet on every path (DNS flag day 2020)
MOST_UDP: Final = 4096  # and what we send at most in one datagram, in fragments to whoever asks for it

_long: Final = struct.Struct("!I")
_opt: Final = struct.Struct("!BHHBBHH")  # root, type, size, high bits of the code, version, flags, length


def pack_query(question: Question, ident: int, *, edns: bool, options: bytes = b"", block: int = 1) -> bytes:
    """Return a query of our own for question, padded to a multiple of block octets (RFC 7830)."""
    # AD: tell us what you have checked (RFC 6840 §5.7)
    header = header_fields.pack(ident, RD | AD | (question.flags & CD), 1, 0, 0, 1 if edns else 0)
    if not edns:
        return header + question.asked
    size = HEADER_LEN + len(question.asked) + _opt.size + len(options)
    if block > 1:
        options += pack_option(_PADDING, bytes(-(size + 4) % block))
    bits = DO if question.dnssec_ok else 0
    return b"".join((header, question.asked, _opt.pack(0, OPT, UDP_SIZE, 0, 0, bits, len(options)), options))


def pack_option(code: int, data: bytes) -> bytes:
    """Return an EDNS option (RFC 6891 §6.1.2)."""
    return pair_fields.pack(code, len(data)) + data


def pack_reply(
    question: Question, answer: Answer, age: int, is_tcp: bool, *, is_patched: bool = False
) -> bytes:
    """Return the reply to question, age seconds after answer came; one that is too long is empty, with TC.

    is_patched says that the TTLs are not those in the records. Raises nothing for a question without a fault.
    """
    flags = QR | RA | (question.flags & (RD | CD)) | (answer.rcode & 0xF)
    if answer.flags & AD and (question.dnssec_ok or question.flags & AD):  # RFC 6840 §5.8
        flags |= AD
    opt = _opt_of(question, answer.rcode, answer.why, answer.code) if question.has_edns else b""
    records = answer.records
    size = HEADER_LEN + len(question.asked) + len(records) + len(opt)
    if size > (MAX_MESSAGE if is_tcp else min(question.size, MOST_UDP)):
        header = header_fields.pack(question.id, flags | TC, 1, 0, 0, 1 if opt else 0)
        return b"%b%b%b" % (header, question.asked, opt)
    answers, authority, additional = answer.counts
    if opt:
        additional += 1
    header = header_fields.pack(question.id, flags, 1, answers, authority, additional)
    if (age > 0 or is_patched) and answer.ttls:
        patched = bytearray(records)
        for at, ttl in answer.ttls:
            _long.pack_into(patched, at, ttl - age if ttl > age else 0)
        return b"".join((header, question.asked, patched, opt))
    return b"%b%b%b%b" % (header, question.asked, records, opt)


def pack_error(question: Question, rcode: int, why: str = "", code: int = NO_REACHABLE_AUTHORITY) -> bytes:
    """Return a reply without records; why is told to those who take it (RFC 8914), with the code of why."""
    flags = QR | RA | (question.flags & (OPCODE | RD | CD)) | (rcode & 0xF)
    opt = _opt_of(question, rcode, why, code) if question.has_edns else b""
    count = 1 if question.asked else 0
    header = header_fields.pack(question.id, flags, count, 0, 0, 1 if opt else 0)
    return b"%b%b%b" % (header, question.asked, opt)


def _opt_of(question: Question, rcode: int, why: str, code: int = NO_REACHABLE_AUTHORITY) -> bytes:
    extra = b""
    if why:
        text = why.encode()[:200]
        extra = pack_option(_EDE, code.to_bytes(2, "big") + text)
    bits = DO if question.dnssec_ok else 0
    return _opt.pack(0, OPT, UDP_SIZE, rcode >> 4, 0, bits, len(extra)) + extra


def pack_record(kind: int, ttl: int, data: bytes) -> bytes:
    """Return a record of the name that the question asks about."""
    return b"\xc0\x0c" + record_fields.pack(kind, IN, ttl, len(data)) + data


def records_answer(kind: int, ttl: int, data: list[bytes], addresses: tuple[bytes, ...] = ()) -> Answer:
    """Return an answer with one record of the question's name for each of data; none is an empty answer."""
    records = b"".join(pack_record(kind, ttl, each) for each in data)
    ttls = ttls_in(records, 0, len(data))
    return Answer(NOERROR, records, (len(data), 0, 0), ttls=ttls, addresses=addresses)
