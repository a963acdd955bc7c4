"""DNS messages as octets: the question of a query, and what is kept of an answer (RFC 1035 §4).

    0 id   2 flags   4 questions   6 answers   8 authority   10 additional   12 name, type, class …

Most queries are answered from memory, so the question is read, and the reply made (``packing``), without a
parser: the records of an answer are kept as they were packed, and only what differs between two askers is put
in again: the id, the flags, the name in the asker's capitals, what is left of each TTL, and EDNS (RFC 6891).
"""

import struct
from typing import Final

from tunproxy.dns.labels import MAX_LABEL, MAX_NAME, name_of, skip_name, text_of

HEADER_LEN: Final = 12
MAX_MESSAGE: Final = 65_535
_LEAST_UDP: Final = 512  # RFC 1035 §4.2.1, and what an EDNS size below means (RFC 6891 §6.2.3)

# flags
QR: Final = 0x8000
AA: Final = 0x0400
TC: Final = 0x0200
RD: Final = 0x0100
RA: Final = 0x0080
AD: Final = 0x0020
CD: Final = 0x0010
OPCODE: Final = 0x7800
DO: Final = 0x8000  # in the TTL of OPT (RFC 3225)

# response codes
NOERROR: Final = 0
FORMERR: Final = 1
SERVFAIL: Final = 2
NXDOMAIN: Final = 3
NOTIMP: Final = 4
REFUSED: Final = 5
BADVERS: Final = 16  # RFC 6891 §9

# types and classes
A: Final = 1
CNAME: Final = 5
SOA: Final = 6
PTR: Final = 12
MX: Final = 15
AAAA: Final = 28
OPT: Final = 41
SVCB: Final = 64  # RFC 9460
HTTPS: Final = 65
IXFR: Final = 251
ANY: Final = 255
IN: Final = 1

# Extended DNS Errors (RFC 8914 §4)
STALE_ANSWER: Final = 3
NO_REACHABLE_AUTHORITY: Final = 22

header_fields: Final = struct.Struct("!HHHHHH")
pair_fields: Final = struct.Struct("!HH")
record_fields: Final = struct.Struct("!HHIH")


class Question:
    """What a query asks, and what its reply has to respect.

    name is the wire form in lower case; asked is the question section as it came. fault is the response code
    that a query deserves which cannot be understood, else NOERROR; then the other fields may be empty. size
    is the largest datagram that the asker takes.
    """

    __slots__ = (
        "asked", "dnssec_ok", "fault", "flags", "has_edns", "id", "klass", "name", "size", "type",
    )  # fmt: skip

    def __init__(self, ident: int, flags: int) -> None:
        self.id = ident
        self.flags = flags
        self.fault = NOERROR
        self.name = b""
        self.asked = b""
        self.type = 0
        self.klass = 0
        self.size = _LEAST_UDP
        self.has_edns = False
        self.dnssec_ok = False

    @property
    def key(self) -> bytes:
        """What two questions share that have the same answer."""
        bits = (2 if self.flags & CD else 0) | (1 if self.dnssec_ok else 0)
        return b"%b%b%c" % (self.name, self.asked[-4:], bits)

    @property
    def host(self) -> str:
        """The name as people write it, in lower case and without the dot at its end."""
        return text_of(self.name)

    @property
    def meant(self) -> str:
        """The name that is connected to; of a service, _443._https.www.example, that of its host."""
        host = self.host
        while host.startswith("_"):  # RFC 9460 §2.3
            host = host.partition(".")[2]
        return host


class Answer:
    """A response, ready to be packed for anybody who asks the same.

    records are the packed records behind the question, compressed against it; counts are those of answers,
    authority and additional records. ttls are (offset in records, seconds). lifetime is how long the answer
    may be kept, in seconds, 0 for not at all. addresses are the packed ones that a client may connect to.
    """

    __slots__ = ("addresses", "code", "counts", "flags", "lifetime", "rcode", "records", "ttls", "why")

    def __init__(
        self,
        rcode: int,
        records: bytes = b"",
        counts: tuple[int, int, int] = (0, 0, 0),
        *,
        flags: int = 0,
        ttls: tuple[tuple[int, int], ...] = (),
        lifetime: int = 0,
        addresses: tuple[bytes, ...] = (),
        why: str = "",
        code: int = NO_REACHABLE_AUTHORITY,
    ) -> None:
        self.rcode: Final = rcode
        self.records: Final = records
        self.counts: Final = counts
        self.flags: Final = flags
        self.ttls: Final = ttls
        self.lifetime: Final = lifetime
        self.addresses: Final = addresses
        self.why: Final = why  # for people, where it is a failure, with the code for it (RFC 8914)
        self.code: Final = code

    @property
    def size(self) -> int:
        """About how many octets it holds."""
        return len(self.records) + 96 * len(self.ttls) + 56 * len(self.addresses) + 300


def read_question(wire: bytes) -> Question | None:
    """Return what wire asks; None for what deserves no reply: responses, and what has no header."""
    size = len(wire)
    if size < HEADER_LEN:
        return None
    ident, flags, questions, answers, authority, additional = header_fields.unpack_from(wire)
    if flags & QR:
        return None
    question = Question(ident, flags)
    if flags & OPCODE:
        question.fault = NOTIMP
        return question
    question.fault = FORMERR
    at = HEADER_LEN
    while at < size and 0 < wire[at] <= MAX_LABEL:
        at += wire[at] + 1
    if at >= size or wire[at]:  # cut off, or compressed, with nothing before it to point to
        return question
    at += 1
    if questions != 1 or at - HEADER_LEN > MAX_NAME or at + 4 > size:
        return question
    question.name = wire[HEADER_LEN:at].lower()  # the lengths are below the letters
    question.asked = wire[HEADER_LEN : at + 4]
    question.type, question.klass = pair_fields.unpack_from(wire, at)
    question.fault = NOERROR
    if answers or authority or additional:
        question.fault = _read_edns(wire, at + 4, answers + authority, additional, question)
    return question


def make_question(host: str, kind: int) -> Question:
    """Return a question of our own, about host; raises ValueError for what is no name."""
    question = Question(0, RD)
    question.name = name_of(host)
    question.asked = question.name + pair_fields.pack(kind, IN)
    question.type, question.klass = kind, IN
    return question


def _read_edns(wire: bytes, at: int, before: int, additional: int, question: Question) -> int:
    """Find the OPT record among the additional ones; return the response code that the query deserves."""
    for number in range(before + additional):
        after = skip_name(wire, at)
        if after < 0 or after + 10 > len(wire):
            return FORMERR
        kind, size, bits, length = record_fields.unpack_from(wire, after)
        if after + 10 + length > len(wire):
            return FORMERR
        if kind == OPT and number >= before:
            if question.has_edns or after != at + 1:  # one, and of the root (RFC 6891 §6.1.1)
                return FORMERR
            question.has_edns = True
            question.size = max(size, _LEAST_UDP)
            question.dnssec_ok = bits & DO != 0
            if bits & 0x00FF_0000:
                return BADVERS
        at = after + 10 + length
    return NOERROR


def ttls_in(wire: bytes, at: int, count: int) -> tuple[tuple[int, int], ...]:
    """Return, for count records from octet at, the distance of each TTL from there, and the TTL.

    Raises ValueError where there are no such records.
    """
    start, found = at, []
    for _ in range(count):
        at = skip_name(wire, at)
        if at < 0 or at + 10 > len(wire):
            raise ValueError("records are cut off")
        _, _, ttl, length = record_fields.unpack_from(wire, at)
        found.append((at + 4 - start, ttl))
        at += 10 + length
    if at > len(wire):
        raise ValueError("records are cut off")
    return tuple(found)


def is_answer_to(query: bytes, wire: bytes) -> bool:
    """Tell whether wire looks like the response to query, which is one of ours: its id and its question.

    A response that is an error may leave the question out.
    """
    if len(wire) < HEADER_LEN or wire[:2] != query[:2] or not wire[2] & 0x80:
        return False
    end = skip_name(query, HEADER_LEN) + 4
    if wire[4:6] == b"\0\1":
        return wire[HEADER_LEN:end].lower() == query[HEADER_LEN:end].lower()
    return wire[4:6] == b"\0\0" and wire[3] & 0x0F != NOERROR
